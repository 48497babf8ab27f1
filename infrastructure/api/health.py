"""How a server is."""

from __future__ import annotations

from pydantic import ConfigDict

from .jobs import Answer


class Health(Answer):
    """`ok`, or what is wrong."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ok"}]})

    status: str

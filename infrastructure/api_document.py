"""The OpenAPI document, without a server."""

from __future__ import annotations

from importlib.metadata import version as installed_version
from typing import Any

from .http.app import make_document


def api_document() -> dict[str, Any]:
    """What `/v1/openapi.json` of a server of this version shows."""
    return make_document(version=installed_version("jobledger"))

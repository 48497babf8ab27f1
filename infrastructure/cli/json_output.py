"""Answers for programs: stable JSON, times in RFC 3339 and UTC. Light, so that small commands start at once."""

from __future__ import annotations

import json
import sys
from datetime import datetime

from ..harmless import escaped_json
from ..shapes.texts import iso


def print_json(document: object) -> None:
    """One JSON document, indented, on stdout."""
    sys.stdout.write(escaped_json(json.dumps(document, ensure_ascii=False, indent=2, default=_plain)) + "\n")


def print_error_json(document: object) -> None:
    """One JSON object on one line of stderr."""
    sys.stderr.write(escaped_json(json.dumps(document, ensure_ascii=False, default=_plain)) + "\n")


def _plain(value: object) -> object:
    return iso(value) if isinstance(value, datetime) else str(value)

"""What a dispatch over HTTP asks for, alone or as a line of many."""

from __future__ import annotations

import json

import pytest

from jobledger.domain.errors import InvalidInput
from jobledger.infrastructure.api.jobs import DispatchRequest
from jobledger.infrastructure.http.routes.jobs import dispatch_of


def test_no_payload_holds_nul() -> None:
    """Whatever the type would take; the place is named, and what only looks like NUL is none."""
    for payload, field in (({"lines": ["a", "b\x00"]}, "payload.lines.1"), ({"a\x00": 1}, "payload")):
        written = json.dumps({"type": "text.keep", "payload": payload}).encode()
        with pytest.raises(InvalidInput) as refused:
            dispatch_of("acme", DispatchRequest.model_validate_json(written), written)
        assert refused.value.field == field
    written = json.dumps({"type": "text.keep", "payload": {"path": r"a\u0000"}}).encode()
    item = dispatch_of("acme", DispatchRequest.model_validate_json(written), written)
    assert item.payload == {"path": r"a\u0000"}

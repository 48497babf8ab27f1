"""What secrets look like: names of fields that hold one, and texts that are one (R4.9). Never shows the value."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from jobledger.domain.errors import InvalidInput

from .secret_ref import REFERENCE_KEY, REFERENCE_MARK, is_reference

_NAME = re.compile(
    r"^(.*[_-])?(password|passwd|passphrase|secret|token|api[_-]?key|private[_-]?key|access[_-]?key|credentials?)$",
    re.IGNORECASE,
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_TEXT = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}"
    r"|\bgithub_pat_[A-Za-z0-9_]{22,}|\bsk_live_[A-Za-z0-9]{16,}|\bxox[abprs]-[A-Za-z0-9-]{10,}|\bAIza[A-Za-z0-9_-]{35}"
    r"|\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"
    r"|\bjl_[a-z0-9]{4,16}\.[A-Za-z0-9_-]{43}"  # our own keys
)
# where a secret may begin; a class in front makes the search twice as fast as alternatives do
_HINT = re.compile(rb"[-Agsxej](?:----BEGIN|KIA|h[pousr]_|ithub_pat_|k_live_|ox[abprs]-|yJ|Iza|l_)")


def is_secret_name(name: str) -> bool:
    """Whether a field of that name would hold a secret (`tokens`, a count, would not)."""
    return _NAME.match(_CAMEL.sub("_", name)) is not None


def looks_secret(text: str) -> bool:
    """Whether a text has the shape of a known kind of secret."""
    return _TEXT.search(text) is not None


def refuse_secrets(body: bytes) -> None:
    """Raise `InvalidInput` with the path of the field where a payload holds what looks like a secret, or a reference to
    one in another form than `{"$secret": "its-name"}`."""
    if REFERENCE_MARK in body:
        _require_references(json.loads(body))
    if _HINT.search(body) is None:  # the common case, in a microsecond
        return
    path = next(_paths(json.loads(body), "payload"), None)
    if path is not None:
        raise InvalidInput(
            "holds what looks like a secret", field=path, rule="payloads hold no secrets",
            hint='keep it in a vault and pass {"$secret": "its-name"}',
        )  # fmt: skip


def _require_references(payload: object) -> None:
    path = next(_bad_references(payload, "payload"), None)
    if path is not None:
        raise InvalidInput(
            "not a reference to a secret", field=path, rule=f'{{"{REFERENCE_KEY}": "its-name"}}, and nothing beside it'
        )


def _bad_references(value: object, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        if REFERENCE_KEY in value and not is_reference(value):
            yield path
        for name, item in value.items():
            yield from _bad_references(item, f"{path}.{name}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _bad_references(item, f"{path}.{number}")


def _paths(value: object, path: str) -> Iterator[str]:
    if isinstance(value, str) and looks_secret(value):
        yield path
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _paths(item, f"{path}.{name}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _paths(item, f"{path}.{number}")

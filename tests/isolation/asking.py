"""How one tenant's identity asks for another tenant's things: requests as templates, and answers without names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

import httpx


@dataclass(frozen=True)
class Names:
    """What a tenant has, or what nobody has: each name as long as its counterpart of another tenant."""

    tenant: str
    job: str
    dead: str
    running: str
    persona: str
    queue: str
    limit_key: str
    request: str
    idempotency_key: str
    operation: str
    export: str
    key_id: str
    cursor: str
    worker: str
    event: str

    def hidden_in(self, text: str) -> str:
        """A text without them: what is left is the same for names that do not exist."""
        for each in sorted(fields(self), key=lambda each: -len(getattr(self, each.name))):
            text = text.replace(getattr(self, each.name), f"<{each.name}>")
        return text


@dataclass(frozen=True)
class Ask:
    """A request, in whose texts `{own.job}` and `{their.job}` stand for names."""

    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content: str | None = None
    differs: str = ""
    """Why other statements may be run for their things, where that is so."""

    def send(self, client: httpx.Client, method: str, own: Names, their: Names) -> httpx.Response:
        """Send it, with these names."""
        content = None if self.content is None else _filled(self.content, own, their)
        return client.request(
            method, _filled(self.path, own, their), params=_filled(self.params, own, their), content=content,
            json=_filled(self.json, own, their), headers=_filled(self.headers, own, their),
        )  # fmt: skip


def _filled(template: Any, own: Names, their: Names) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(template, str):
        return re.sub(r"\{(own|their)\.(\w+)\}", lambda found: _name(found, own, their), template)
    if isinstance(template, Mapping):
        return {key: _filled(value, own, their) for key, value in template.items()}
    if isinstance(template, list):
        return [_filled(each, own, their) for each in template]
    return template


def _name(found: re.Match[str], own: Names, their: Names) -> str:
    name: str = getattr(own if found[1] == "own" else their, found[2])
    return name


def filled(texts: Iterable[str], own: Names, their: Names) -> list[str]:
    """Words of a command line, with these names."""
    return [_filled(text, own, their) for text in texts]


# --- answers ---------------------------------------------------------------------------------------------------------

_OF_THE_MOMENT: Final = ("date", "x-request-id")
_NEW: Final = ("content-length", "jobledger-position", "location", "etag", "jobledger-export-id", "jobledger-horizon",
               "jobledger-recorded-as")  # fmt: skip
"""Headers of what was made, and so is new with each request."""
_MOVING: Final = re.compile(
    r"""(?P<id>[0-9a-f]{8}-[0-9a-f]{4}-[78][0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}(\.\d+)?)"""
    r"""|\d{4}-\d\d-\d\dT[0-9:.]+Z|"(position|seconds_behind|events_behind|seconds)":[^,}]+|"request_id":"[^"]+\""""
    r"""|[0-9a-f]+\.\d{4,}"""
)  # fmt: skip
"""Ids that are made, times and positions."""
_REQUEST_ID: Final = re.compile(r'"request_id":"[0-9a-f]+"')


@dataclass(frozen=True)
class Told:
    """An answer, as far as it may tell something."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: str


def told(answered: httpx.Response, their: Names) -> Told:
    """All of an answer but the names that were asked for, the date and the request's id. Of what was done (not refused)
    also without new ids, times and positions."""
    done = answered.status_code < 400
    left_out = _OF_THE_MOMENT + (_NEW if done else ())
    headers = [(name, their.hidden_in(value)) for name, value in answered.headers.multi_items() if name not in left_out]
    body = their.hidden_in(answered.text)
    body = _MOVING.sub("<new>", body) if done else _REQUEST_ID.sub("", body)
    return Told(answered.status_code, tuple(headers), body)

"""Templates, and what they may call: times, durations, words, addresses of files. Everything is escaped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from jobledger.application.account import DEATHS
from jobledger.domain.identifiers import short_id
from jobledger.domain.job import JobStatus

from ..harmless import harmless
from ..shapes.texts import duration_text, first_line, iso, time_text
from . import assets
from .services import Visitor, services_of

ASSETS = assets.load()

STATUS_WORDS = {
    JobStatus.PENDING: "Pending", JobStatus.DELAYED: "Delayed", JobStatus.BLOCKED: "Blocked",
    JobStatus.IN_PROGRESS: "Running", JobStatus.COMPLETED: "Completed", JobStatus.DLQ: "Dead",
    JobStatus.CANCELLED: "Cancelled", JobStatus.DISCARDED: "Discarded",
}  # fmt: skip
_TEMPLATES = Path(__file__).parent / "templates"
_BODY_CHARACTERS_MAX = 200_000


def ago_text(moment: datetime, now: datetime) -> str:
    """`just now`, `5 min ago`, `in 2 h`."""
    seconds = (now - moment).total_seconds()
    size = abs(seconds)
    if size < 5:
        return "just now"
    unit, name = next(
        (unit, name) for unit, name in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")) if size >= unit
    )
    text = f"{int(size // unit)} {name}"
    return f"{text} ago" if seconds > 0 else f"in {text}"


def clock_text(moment: datetime) -> str:
    """`09:30:05.250`, in UTC."""
    utc = moment.astimezone(UTC)
    return f"{utc:%H:%M:%S}.{utc.microsecond // 1000:03d}"


def body_text(content: bytes | None) -> str | None:
    """A payload or result, laid out where it is JSON."""
    if content is None:
        return None
    text = content.decode("utf-8", "replace")
    with suppress(ValueError, RecursionError):
        text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    if len(text) > _BODY_CHARACTERS_MAX:
        text = f"{text[:_BODY_CHARACTERS_MAX]}\n... ({len(content):,} bytes)"
    return harmless(text)


def query_text(fields: Mapping[str, object]) -> str:
    """`?a=1&b=2` of the fields that are there, else nothing."""
    given = {name: value for name, value in fields.items() if value not in (None, "")}
    return f"?{urlencode(given)}" if given else ""


def _asset(name: str) -> str:
    return f"/static/{name}?v={ASSETS[name].digest}"


def _safe(text: object) -> str:
    """What jobs and callers say, without what turns the order of words."""
    return harmless(str(text))


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    made.filters.update(
        iso=iso, time=time_text, clock=clock_text, duration=duration_text, short=short_id, line=first_line,
        safe_text=_safe, part=lambda text: quote(str(text), safe=""),
    )  # fmt: skip
    made.globals.update(asset=_asset, ago=ago_text, query=query_text, status_words=STATUS_WORDS, deaths=DEATHS)
    del made.filters["safe"]  # nothing is to be said unescaped
    return made


_ENVIRONMENT = _environment()


def page(request: Request, template: str, status: int = HTTPStatus.OK, /, **values: Any) -> HTMLResponse:  # noqa: ANN401
    """A template as an answer, with what every page has."""
    services = services_of(request)
    visitor: Visitor | None = getattr(request.state, "visitor", None)
    text = _ENVIRONMENT.get_template(template).render(
        {
            "now": services.clock.now(), "version": services.version, "visitor": visitor, "path": request.url.path,
            "tenant": None, "tenants": (), "section": None, "notice": None, **values,
        }
    )  # fmt: skip
    return HTMLResponse(text, status)

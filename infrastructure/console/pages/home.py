"""Which tenant?"""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from jobledger.application.queries import ListTenants
from jobledger.application.writes import TenantRow
from jobledger.domain.identity import Permission

from ..rendering import page
from ..services import Looking, Visitor

router = APIRouter()

TENANTS_SHOWN = 500
SWITCH_MAX = 200
"""With more tenants than that, the switch in the page's head leads to their list."""


def tenants_of(visitor: Visitor) -> tuple[TenantRow, ...]:
    """The tenants whose jobs the visitor may look at."""
    allowed = visitor.session.identity.tenants_for(Permission.READ)
    rows = visitor.ask(ListTenants).value
    return tuple(row for row in rows if allowed is None or row.name in allowed)


@router.get("/")
def home(visitor: Looking) -> Response:
    """The jobs of the only tenant, else the list of tenants."""
    rows = tenants_of(visitor)
    target = f"/tenants/{quote(rows[0].name, safe='')}/jobs" if len(rows) == 1 else "/tenants"
    return RedirectResponse(target, HTTPStatus.SEE_OTHER)


@router.get("/tenants")
def tenants(request: Request, visitor: Looking, find: str = "") -> Response:
    """The tenants whose jobs the visitor may look at."""
    wanted = find.strip().lower()
    rows = tenants_of(visitor)
    found = [row for row in rows if wanted in row.name.lower() or wanted in row.display_name.lower()]
    return page(request, "tenants.html", rows=found[:TENANTS_SHOWN], found=len(found), all=len(rows), find=find.strip())


@router.get("/switch")
def switch(request: Request, visitor: Looking, tenant: str = "", section: str = "jobs") -> Response:
    """From one tenant to another, in the same part of the console."""
    place = "dlq" if section == "dlq" else "jobs"
    return RedirectResponse(f"/tenants/{quote(tenant, safe='')}/{place}", HTTPStatus.SEE_OTHER)

"""Whether the server lives, and whether it can be used: for load balancers, without a key."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from jobledger.domain.errors import LedgerError

from ...api.health import Health
from ..services import services_of

router = APIRouter(tags=["health"])


@router.get("/livez", operation_id="livez", summary="Whether only a restart helps", response_model=Health,
            responses={503: {"model": Health, "description": "Nothing can be written any more."}})  # fmt: skip
async def livez(request: Request) -> JSONResponse:
    """503 where the thread that writes has died."""
    died = services_of(request).handle.writer_has_died()
    return JSONResponse({"status": "the ledger's writer has died" if died else "ok"}, 503 if died else 200)


@router.get("/readyz", operation_id="readyz", summary="Whether requests can be carried out", response_model=Health,
            responses={503: {"model": Health, "description": "The ledger does not answer."}})  # fmt: skip
def readyz(request: Request) -> JSONResponse:
    """503 where the ledger does not answer."""
    try:
        services_of(request).handle.ports.reader.incarnation()
    except LedgerError:
        return JSONResponse({"status": "the ledger does not answer"}, 503)
    return JSONResponse({"status": "ok"})

"""Style sheets, scripts and pictures."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ..rendering import ASSETS

router = APIRouter()

_FOR_GOOD = "public, max-age=31536000, immutable"


@router.get("/static/{name}")
async def static(request: Request, name: str) -> Response:
    """A file that pages load; its address has a digest, so it never changes."""
    asset = ASSETS.get(name)
    if asset is None:
        raise HTTPException(404)
    caching = _FOR_GOOD if request.query_params.get("v") == asset.digest else "no-cache"
    return Response(asset.content, media_type=asset.media_type, headers={"Cache-Control": caching})


@router.get("/favicon.ico")
async def icon(request: Request) -> Response:
    """Where browsers look for it without being told."""
    return await static(request, "mark.svg")

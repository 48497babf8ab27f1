"""API keys: make, list, rotate, revoke. A secret stands in the answer that made it, which no cache may keep."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response, Security

from jobledger.application.key_messages import (
    KEYS_LIMIT_DEFAULT,
    KEYS_LIMIT_MAX,
    CreateKey,
    IssuedKey,
    ListKeys,
    RevokeKey,
    RotateKey,
)
from jobledger.application.result import Accepted

from ...api import keys as api
from ...api.jobs import ReasonRequest
from ...shapes import keys as shapes
from ..authentication import AuthenticatedRoute, bearer
from ..conditions import tagged
from ..documented import problems
from ..services import Caller, Calling

router = APIRouter(prefix="/v1/keys", tags=["keys"], route_class=AuthenticatedRoute, dependencies=[Security(bearer)])

KeyId = Annotated[str, Path(pattern=r"^[a-z0-9]{4,16}$", description="The key's id, not its text.")]
_SCOPE = "keys"


@router.get("", operation_id="list_keys", summary="API keys", response_model=api.Keys, responses=problems())
def list_keys(
    *,
    caller: Calling,
    limit: Annotated[int, Query(ge=1, le=KEYS_LIMIT_MAX)] = KEYS_LIMIT_DEFAULT,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before.")] = None,
) -> Any:  # noqa: ANN401, fmt: skip - as the response model says
    """All there are and were, without their secrets."""
    cursors, now = caller.services.cursors, caller.services.handle.ports.clock.now()
    page = caller.ask(ListKeys, after_key=cursors.read(cursor, _SCOPE), limit=limit).value
    return {
        "keys": [shapes.key_view(view, now) for view in page.keys], "next_cursor": cursors.sign(page.next, _SCOPE)
    }  # fmt: skip


@router.post(
    "", operation_id="create_key", summary="Make an API key", status_code=201, response_model=api.IssuedKey,
    responses=problems(),
)  # fmt: skip
def create_key(*, body: api.KeyRequest, caller: Calling, response: Response) -> Any:  # noqa: ANN401
    """Its text stands in this answer only."""
    return _issued(caller, response, caller.ask(
        CreateKey, key_name=body.name, grants=[grant.model_dump() for grant in body.grants], technical=body.technical,
        expires_at=body.expires_at, reason=body.reason,
    ))  # fmt: skip


@router.post(
    "/{key_id}/rotate", operation_id="rotate_key", summary="Give an API key its next secret",
    response_model=api.IssuedKey, responses=problems(409),
)  # fmt: skip
def rotate_key(*, key_id: KeyId, body: api.RotateRequest, caller: Calling, response: Response) -> Any:  # noqa: ANN401
    """Two secrets are good at a time: the new one, which stands in this answer only, and the one until now."""
    return _issued(caller, response, caller.ask(
        RotateKey, key_id=key_id, expires_at=body.expires_at, previous_expires_at=body.previous_expires_at,
        reason=body.reason,
    ))  # fmt: skip


@router.post(
    "/{key_id}/revoke", operation_id="revoke_key", summary="End an API key for good", response_model=api.KeyChanged,
    responses=problems(409),
)  # fmt: skip
def revoke_key(*, key_id: KeyId, body: ReasonRequest, caller: Calling, response: Response) -> Any:  # noqa: ANN401
    """Servers believe in it for two more seconds at most."""
    revoked = caller.ask(RevokeKey, key_id=key_id, reason=body.reason)
    tagged(response, None, revoked.position)
    now = caller.services.handle.ports.clock.now()
    return {"key": shapes.key_view(revoked.value, now), "position": revoked.position}


def _issued(caller: Caller, response: Response, issued: Accepted[IssuedKey]) -> dict[str, object]:
    tagged(response, None, issued.position)
    response.headers["Cache-Control"] = "no-store"
    now = caller.services.handle.ports.clock.now()
    return {
        "key": shapes.key(issued.value.key, now), "credential": issued.value.credential, "position": issued.position
    }  # fmt: skip

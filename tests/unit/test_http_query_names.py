"""Parameters that a route does not know."""

from __future__ import annotations

import pytest

from jobledger.infrastructure.http.problem_documents import ApiError
from jobledger.infrastructure.http.query_names import list_names, query_names, require_known
from jobledger.infrastructure.http.routes import jobs, lists, statistics

LIST = next(route for route in lists.router.routes if getattr(route, "operation_id", "") == "list_jobs")
KNOWN = query_names(LIST.dependant)  # type: ignore[attr-defined]


def test_a_route_knows_what_it_and_its_dependencies_take() -> None:
    """By the names in the address; the route that reads its request itself takes none."""
    assert {"status", "type", "limit", "cursor", "after", "as_of"} <= KNOWN
    assert "tenant" not in KNOWN
    (dispatch,) = jobs.dispatching.routes
    assert query_names(dispatch.dependant) == frozenset()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "hint"),
    [("limits", "did you mean limit?"), ("Status", "did you mean status?"), ("verbose", "there are: after, as_of, "),
     ("", "there are: "), ("x" * 5_000, "there are: ")],
)  # fmt: skip
def test_what_it_does_not_know_is_named(name: str, hint: str) -> None:
    """With what was meant, or what there is."""
    with pytest.raises(ApiError) as refused:
        require_known(["status", name, "limit"], KNOWN)
    error = refused.value
    assert (error.error_code, error.field) == ("invalid_input", f"query.{name[:60]}")
    assert error.hint is not None and error.hint.startswith(hint)


def test_a_route_without_parameters_says_so() -> None:
    """Nothing can have been meant."""
    with pytest.raises(ApiError) as refused:
        require_known(["limit"], frozenset())
    assert refused.value.hint == "it has none"


def test_what_is_given_twice_is_refused() -> None:
    """Nobody knows which was meant; but lists are made like that."""
    route = next(one for one in statistics.router.routes if getattr(one, "operation_id", "") == "get_tenant_statistics")
    known, lists = query_names(route.dependant), list_names(route.dependant)  # type: ignore[attr-defined]
    assert lists == {"by"} < known
    require_known(["by", "limit", "by"], known, lists)
    with pytest.raises(ApiError) as refused:
        require_known(["by", "limit", "limit"], known, lists)
    assert (refused.value.error_code, refused.value.field) == ("invalid_input", "query.limit")

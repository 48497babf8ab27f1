"""Parameters of a query that a route does not know are refused: one that is misspelt would change the question."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .problem_documents import ApiError

if TYPE_CHECKING:
    from fastapi.dependencies.models import Dependant

_SHOWN_LENGTH = 60


def query_names(dependant: Dependant) -> frozenset[str]:
    """Those that a route knows, and what it depends on."""
    own = (field.alias for field in dependant.query_params)
    return frozenset(own).union(*(query_names(other) for other in dependant.dependencies))


def require_known(asked: Iterable[str], known: frozenset[str]) -> None:
    """Raise the error of status 422 for the first that is not known."""
    for name in asked:
        if name not in known:
            shown = name[:_SHOWN_LENGTH]
            raise ApiError(
                "invalid_input", "there is no such parameter here", field=f"query.{shown}",
                rule="a parameter that this route has", hint=_hint(shown, known),
            )  # fmt: skip


def _hint(name: str, known: frozenset[str]) -> str:
    if near := difflib.get_close_matches(name.lower(), sorted(known), n=1):
        return f"did you mean {near[0]}?"
    return f"there are: {', '.join(sorted(known))}" if known else "it has none"

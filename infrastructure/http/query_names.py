"""Parameters of a query that a route does not know are refused: one that is misspelt would change the question."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING, get_args, get_origin

from .problem_documents import ApiError

if TYPE_CHECKING:
    from fastapi.dependencies.models import Dependant

_SHOWN_LENGTH = 60


def query_names(dependant: Dependant) -> frozenset[str]:
    """Those that a route knows, and what it depends on."""
    own = (field.alias for field in dependant.query_params)
    return frozenset(own).union(*(query_names(other) for other in dependant.dependencies))


def list_names(dependant: Dependant) -> frozenset[str]:
    """Those of them that may be given more than once."""
    own = (field.alias for field in dependant.query_params if _is_list(field.field_info.annotation))
    return frozenset(own).union(*(list_names(other) for other in dependant.dependencies))


def require_known(asked: Iterable[str], known: frozenset[str], lists: frozenset[str] = frozenset()) -> None:
    """Raise the error of status 422 for the first that is not known, or is given again and is none of `lists`."""
    given: set[str] = set()
    for name in asked:
        if name in given and name not in lists:
            raise ApiError(
                "invalid_input", "the parameter is given more than once", field=f"query.{name}", rule="is given once"
            )  # fmt: skip
        given.add(name)
        if name not in known:
            shown = name[:_SHOWN_LENGTH]
            raise ApiError(
                "invalid_input", "there is no such parameter here", field=f"query.{shown}",
                rule="a parameter that this route has", hint=_hint(shown, known),
            )  # fmt: skip


def _is_list(annotation: object) -> bool:
    """Whether it is a list, or one of several that is."""
    if get_origin(annotation) in (list, tuple, set, frozenset):
        return True
    return any(_is_list(part) for part in get_args(annotation))


def _hint(name: str, known: frozenset[str]) -> str:
    if near := difflib.get_close_matches(name.lower(), sorted(known), n=1):
        return f"did you mean {near[0]}?"
    return f"there are: {', '.join(sorted(known))}" if known else "it has none"

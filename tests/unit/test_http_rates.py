"""How much one identity may have of a server at a time."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from jobledger.infrastructure.http.problem_documents import ApiError
from jobledger.infrastructure.http.rates import Streams


def test_one_stream_too_many_is_refused_until_another_ends() -> None:
    """Each identity for itself; whoever is refused is told when to come back."""
    streams = Streams(2)
    with ExitStack() as others:
        others.enter_context(streams.opened("key:a"))
        with streams.opened("key:a"):
            with pytest.raises(ApiError) as refused, streams.opened("key:a"):
                pass
            with streams.opened("key:b"):
                pass
        with streams.opened("key:a"):
            pass
    assert refused.value.error_code == "too_many_requests" and int(refused.value.headers["Retry-After"]) > 0


def test_streams_that_broke_off_count_no_more() -> None:
    """Also where what is told fails."""
    streams = Streams(1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), streams.opened("key:a"):
            raise ZeroDivisionError

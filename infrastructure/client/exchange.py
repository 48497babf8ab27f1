"""Requests and answers as values, and flows: what is to be exchanged and waited for, without doing it.

A flow is a generator. It yields effects and is resumed with what came of them: an `Answer`, a line, an item; trouble
on the way is thrown into it. So everything that takes several requests (trying again, paging, waiting for a result,
going on with a stream) is written once and driven by threads and by coroutines alike.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Request(NamedTuple):
    """What is asked. `headers` and `path` are as they go out; `timeout_seconds` is for one attempt."""

    method: str
    path: str
    parameters: Mapping[str, str | Sequence[str]]
    headers: Mapping[str, str]
    content: bytes | None
    timeout_seconds: float


class Answer(NamedTuple):
    """What came back; names of headers in lower case. The content of a stream is empty: its lines are read."""

    status: int
    headers: Mapping[str, str]
    content: bytes = b""


class Trouble(Exception):
    """There was no answer. `was_sent`: the server may have carried the request out. `is_lasting`: it is the request
    that is wrong, and asking again does not help."""

    def __init__(self, text: str, *, was_sent: bool, is_lasting: bool = False) -> None:
        super().__init__(text)
        self.was_sent = was_sent
        self.is_lasting = is_lasting


# --- effects ---------------------------------------------------------------------------------------------------------


class Exchange(NamedTuple):
    """Send a request; resumed with its `Answer`."""

    request: Request


class Open(NamedTuple):
    """Send a request whose answer is a stream; resumed with the `Answer`. One that was open is closed."""

    request: Request


class ReadLine(NamedTuple):
    """Read a line of the open stream; resumed with it, without its end, or None where the stream has ended."""


class ReadBytes(NamedTuple):
    """Read some bytes of the open stream; resumed with them, or with None where the stream has ended."""


class Pause(NamedTuple):
    """Wait."""

    seconds: float


class Pull(NamedTuple):
    """Take the next of the items that the caller supplies; resumed with it, or with `END`."""


@dataclass(frozen=True, slots=True)
class Emit(Generic[T_co]):
    """Hand a value to whoever iterates."""

    value: T_co


class End(Enum):
    """The type of `END`."""

    END = "end"


END: Final = End.END
"""There are no more items."""

Effect: TypeAlias = Exchange | Open | ReadLine | ReadBytes | Pause | Pull
Flow: TypeAlias = Generator[Effect, Any, T]
"""Comes to one value."""
Emits: TypeAlias = Generator[Effect | Emit[T], Any, None]
"""Hands out values, one after the other."""

"""Lines of a stream, split at line feeds alone: JSON may hold the other characters that Python takes for ends."""

from __future__ import annotations

from collections import deque


class Lines:
    """Bytes in, lines out."""

    def __init__(self) -> None:
        self._begun = b""
        self._whole: deque[str] = deque()

    def feed(self, content: bytes) -> None:
        """What was received."""
        *whole, self._begun = (self._begun + content).split(b"\n") if b"\n" in content else [self._begun + content]
        self._whole.extend(line.removesuffix(b"\r").decode("utf-8", "replace") for line in whole)

    def take(self) -> str | None:
        """The next line; None where more has to be received first. What ends without a line feed is no line."""
        return self._whole.popleft() if self._whole else None

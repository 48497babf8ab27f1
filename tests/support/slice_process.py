"""A process that owns a slice of a rebuild until it is killed: `python -m tests.support.slice_process ENGINE PLACE ID`.

Prints the slice's number.
"""

from __future__ import annotations

import signal
import sys
from uuid import UUID

from ..contract.views_support import open_place


def main(engine: str, place: str, rebuild_id: str) -> None:
    """Own a slice."""
    with open_place(engine, place) as opened, opened.shadows.own_slice(opened.shadows.get(UUID(rebuild_id))) as part:
        assert part is not None
        sys.stdout.write(f"{part.number}\n")
        sys.stdout.flush()
        signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The example's input: domain events as CloudEvents 1.0, one JSON object a line, some of them deliberately bad.

    python -m examples.condominium.events --seed 7 --out events.jsonl

The same seed gives the same file, byte for byte.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

from . import flaws
from .flaws import Kind, Line
from .stories import START, Draft, drafts

DEFAULT_SEED = 7
_SAO_PAULO = timezone(timedelta(hours=-3))


def generate(seed: int = DEFAULT_SEED) -> list[Line]:
    """All lines of the file with the reason why each is in it."""
    random = Random(seed)
    good = [_event(random, number, draft) for number, draft in enumerate(drafts(random))]
    return flaws.add_to(good, random)


def as_text(lines: Sequence[Line]) -> str:
    """JSON Lines."""
    return "".join(f"{line.text}\n" for line in lines)


def _event(random: Random, number: int, draft: Draft) -> dict[str, Any]:
    """A CloudEvent with three extension attributes: `tenant`, `persona` and the tracing extension `traceparent`."""
    time = START + timedelta(seconds=20 * number + random.randint(0, 19))
    return {
        "specversion": "1.0",
        "id": str(UUID(int=random.getrandbits(128), version=4)),
        "source": f"/tenants/{draft.tenant}/{draft.route.department}",
        "type": draft.route.event_type,
        "subject": draft.subject,
        "time": _spelled(time, number),
        "datacontenttype": "application/json",
        "tenant": draft.tenant,
        "persona": draft.route.persona,
        "traceparent": f"00-{random.getrandbits(128) | 1:032x}-{random.getrandbits(64) | 1:016x}-01",
        "data": {"tenant_id": draft.tenant, **draft.data},
    }


def _spelled(time: datetime, number: int) -> str:
    """RFC 3339 has many spellings of a time; every third sender uses its own offset."""
    if number % 3 == 0:
        return time.astimezone(_SAO_PAULO).isoformat()
    return time.isoformat().replace("+00:00", "Z")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m examples.condominium.events", description=__doc__)
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="what decides everything (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="file to write (default: standard output)")
    options = parser.parse_args(arguments)
    lines = generate(options.seed)
    if options.out is None:
        sys.stdout.write(as_text(lines))
        return 0
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(as_text(lines), encoding="utf-8")
    counts = Counter(line.kind for line in lines)
    print(f"{len(lines)} lines in {options.out}: " + ", ".join(f"{counts[kind]} {kind}" for kind in Kind))
    return 0


if __name__ == "__main__":
    sys.exit(main())

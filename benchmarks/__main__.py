"""`python -m benchmarks`: everything in one run, beside the raw loop; see --help."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from . import machine, report
from .backends import Postgres, Sqlite, disk_directory, file_system_of
from .measures import Sample
from .plan import Choice, Planned, planned
from .processes import logging_to

RESULTS = Path(__file__).parent / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, write; the exit code is 0 whatever was reached."""
    chosen = _parse(arguments)
    console = Console(width=None if sys.stdout.isatty() else 200)
    for name in [name for name in os.environ if name.startswith("JOBLEDGER_") and name != "JOBLEDGER_PG_BIN"]:
        del os.environ[name]  # what is measured is what is shipped
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped and its data removed
    began_at = datetime.now(UTC)
    with disk_directory(chosen.place) as directory:
        postgres = Postgres(directory)
        try:
            settings = _settings(chosen, directory, postgres)
            report.show_settings(settings, console)
            log = directory / "jobledger.log"
            with logging_to(log):
                samples = _run(planned(chosen, postgres, Sqlite(directory), log), chosen, console)
        finally:
            postgres.close()
    settings["load at the end"] = machine.load()
    run = report.Run(began_at, machine.commit(), settings, samples)
    report.show(run, console)
    for path in report.write(run, chosen.results):
        console.print(f"written: {path}")
    return 0


def _run(steps: Sequence[Planned], chosen: Choice, console: Console) -> list[Sample]:
    samples: list[Sample] = []
    for repetition in range(chosen.repeat):
        for step in steps:
            if repetition and step.once:
                continue
            began_at = time.monotonic()
            with console.status(f"{repetition + 1} of {chosen.repeat}: {step.name}"):
                samples.extend(step.run())
            seconds = time.monotonic() - began_at
            console.print(f"{repetition + 1}/{chosen.repeat} {step.name}, {seconds:.1f} s", style="dim")
    return samples


def _settings(chosen: Choice, directory: Path, postgres: Postgres) -> dict[str, str]:
    return {
        **machine.describe(),
        "disk": file_system_of(directory),
        **{f"postgresql {name}": value for name, value in postgres.describe().items()},
        **{f"sqlite {name}": value for name, value in Sqlite(directory).describe().items()},
        "jobs": f"{chosen.jobs:,} with payloads of 200 bytes, 20 tenants, one persona",
        "listed": f"{chosen.finished:,} jobs of one tenant in list-pages",
        "rebuilt": f"{chosen.events:,} events of finished jobs",
        "runs": f"{chosen.repeat}, medians",
        "jobledger": "shipped defaults: validation on, all projections in a process of their own, "
        "logs at level info to a file, worker concurrency 16, groups of 500",
    }


def _parse(arguments: Sequence[str] | None) -> Choice:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--jobs", type=int, default=20_000, metavar="N", help="jobs of each bulk scenario (20000)")
    parser.add_argument("--repeat", type=int, metavar="N", help="runs of each scenario (3; with --quick 1)")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="scenarios whose name begins so")
    parser.add_argument("--quick", action="store_true", help="one run, fewer samples, without the million")
    parser.add_argument("--with-million", action=argparse.BooleanOptionalAction, default=None,
                        help="the drain beside 1,000,000 finished jobs (on; with --quick off)")  # fmt: skip
    parser.add_argument(
        "--finished",
        type=int,
        default=1_000_000,
        metavar="N",
        help="how many finished jobs that is, and how many `list-pages` lists",
    )
    parser.add_argument("--events", type=int, metavar="N",
                        help="events of the rebuilds (1000000; with --quick 0: left out)")  # fmt: skip
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIRECTORY", help="where results are written")
    parser.add_argument("--place", type=Path, metavar="DIRECTORY", help="where databases are made (on a real disk)")
    given = parser.parse_args(arguments)
    return Choice(
        jobs=given.jobs, repeat=given.repeat or (1 if given.quick else 3), only=tuple(given.only), quick=given.quick,
        finished=given.finished if (not given.quick if given.with_million is None else given.with_million) else 0,
        events=(0 if given.quick else 1_000_000) if given.events is None else given.events, results=given.results,
        place=given.place,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())

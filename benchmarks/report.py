"""What one sees: a table on the terminal, a JSON file for machines, a page for people."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from .measures import Medians, Sample, medians, spread_of
from .targets import Verdict, ratio_to_raw, verdicts

_HEADERS = (
    "scenario", "engine", "batch", "seconds", "rate/s", "lowest..highest", "of raw", "lists/s", "own CPU s/1000",
    "server CPU s/1000", "p50 ms", "p95 ms", "p99 ms", "longest ms", "peak MB",
)  # fmt: skip
_MARKS = {True: "reached", False: "MISSED", None: "-"}
_COLOURS = {True: "green", False: "bold red", None: "dim"}


class Run(NamedTuple):
    """All that a run was and gave."""

    began_at: datetime
    commit: str
    settings: Mapping[str, str]
    samples: Sequence[Sample]


def show(run: Run, console: Console) -> None:
    """Settings, figures and verdicts."""
    figures = medians(run.samples)
    table = Table(title="medians", title_justify="left")
    for number, header in enumerate(_HEADERS):
        table.add_column(header, justify="left" if number < 2 else "right", no_wrap=number < 2)
    for row in _rows(run, figures):
        table.add_row(*row)
    console.print(table)
    judged = Table(title="targets", title_justify="left")
    for header in ("target", "at least", "measured", ""):
        judged.add_column(header)
    for verdict in verdicts(figures):
        colour = _COLOURS[verdict.reached]
        judged.add_row(verdict.target, verdict.least, verdict.measured, f"[{colour}]{_MARKS[verdict.reached]}[/]")
    console.print(judged)


def show_settings(settings: Mapping[str, str], console: Console) -> None:
    """Under what conditions the figures come about."""
    for name, value in settings.items():
        console.print(f"{name:>28}  {value}", markup=False, highlight=False)


def write(run: Run, directory: Path) -> tuple[Path, Path]:
    """Write `<date>-<commit>.json` and `latest.md`; returns both."""
    directory.mkdir(parents=True, exist_ok=True)
    as_json = directory / f"{run.began_at:%Y-%m-%d}-{run.commit.replace('+', '-changed')}.json"
    as_json.write_text(json.dumps(_document(run), indent=1) + "\n")
    page = directory / "latest.md"
    page.write_text(_page(run))
    return as_json, page


def _document(run: Run) -> dict[str, object]:
    figures = medians(run.samples)
    return {
        "began_at": run.began_at.isoformat(timespec="seconds"),
        "commit": run.commit,
        "settings": dict(run.settings),
        "medians": [_known(sample) for sample in figures.values()],
        "targets": [verdict._asdict() for verdict in verdicts(figures)],
        "samples": [_known(sample) for sample in run.samples],
    }


def _known(sample: Sample) -> dict[str, object]:
    return {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in sample._asdict().items()
        if value is not None
    }


def _page(run: Run) -> str:
    figures = medians(run.samples)
    judged = [_verdict_cells(verdict) for verdict in verdicts(figures)]
    return "\n".join(
        [
            f"# Benchmark of {run.began_at:%Y-%m-%d %H:%M} UTC, commit {run.commit}",
            "",
            "Written by `make bench`. Rates are medians; ratios count, not absolutes. `rate/s` counts until nothing",
            "was unfinished, `lists/s` until every list had reached the last position. CPU is in seconds for 1,000",
            "jobs (events for projections): of jobledger's processes, and of the database server's.",
            "",
            *_markdown(("target", "at least", "measured", ""), judged),
            "",
            *_markdown(_HEADERS, _rows(run, figures)),
            "",
            *_markdown(("setting", "value"), list(run.settings.items())),
            "",
        ]
    )


def _verdict_cells(verdict: Verdict) -> tuple[str, ...]:
    mark = _MARKS[verdict.reached]
    return verdict.target, verdict.least, verdict.measured, f"**{mark}**" if verdict.reached is False else mark


def _markdown(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [headers, ["---"] * len(headers), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _rows(run: Run, figures: Medians) -> list[tuple[str, ...]]:
    return [_row(run, figures, sample) for sample in figures.values()]


def _row(run: Run, figures: Medians, sample: Sample) -> tuple[str, ...]:
    spread = spread_of(run.samples, sample.key)
    unit = "" if sample.unit == "jobs" else f" {sample.unit}"
    return (
        sample.scenario,
        sample.engine,
        "" if sample.batch is None else str(sample.batch),
        _number(sample.seconds, lambda seconds: f"{seconds:.2f}"),
        _number(sample.rate, lambda rate: f"{rate:,.0f}{unit}"),
        "" if spread is None else f"{spread.low:,.0f}..{spread.high:,.0f}",
        _number(ratio_to_raw(figures, sample.key), lambda share: f"{share:.0%}"),
        _number(sample.lists_rate, lambda rate: f"{rate:,.0f}"),
        _number(sample.own_cpu, lambda seconds: f"{seconds:.3f}"),
        _number(sample.server_cpu, lambda seconds: f"{seconds:.3f}"),
        *(_number(value, lambda milliseconds: f"{milliseconds:.2f}")
          for value in (sample.p50_ms, sample.p95_ms, sample.p99_ms, sample.longest_ms)),
        _number(sample.peak_mb, lambda megabytes: f"{megabytes:,.0f}"),
    )  # fmt: skip


def _number(value: float | None, show: Callable[[float], str]) -> str:
    return "" if value is None else show(value)

"""What came of a rebuild or a verification, for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from rich.console import Console
from rich.text import Text

from jobledger.projections.beginning import command
from jobledger.projections.projection import Projection
from jobledger.projections.shadow import Comparison, Difference, Purpose, Rebuild, RebuildState

from ..bootstrap import LedgerHandle
from ..shapes.projections import Answer, keys_of
from ..shapes.texts import duration_text, time_text
from .output import table

_NOUN = {Purpose.REBUILD: "rebuild", Purpose.DRY_RUN: "dry run", Purpose.VERIFY: "verification"}
_WIDTH = 24
"""Characters of a value that a line of differences shows."""


def what(rebuild: Rebuild) -> str:
    """`rebuild of tenant_jobs (tenant acme)`."""
    scope = rebuild.scope
    of = f" (job {scope.job} of {scope.tenant})" if scope.job else f" (tenant {scope.tenant})" if scope.tenant else ""
    return f"{_NOUN[rebuild.purpose]} of {rebuild.projection}{of}"


# --- for people ------------------------------------------------------------------------------------------------------


def print_answer(out: Console, projection: Projection, answer: Answer) -> None:
    """The whole answer."""
    end, rebuild = answer.end, answer.outcome.rebuild
    done = {Purpose.REBUILD: "done", Purpose.DRY_RUN: "done, nothing was changed", Purpose.VERIFY: "done"}
    out.print(Text.assemble((f"{what(rebuild)}: {done[rebuild.purpose]}", "bold")), soft_wrap=True)
    rate = f", {end.events / end.seconds:,.0f} events/s" if end.seconds > 0 else ""
    out.print(f"{end.events:,} events, {_rows(end.comparison.rows_fresh)} in {duration_text(end.seconds)}{rate}")
    print_comparison(out, keys_of(projection), end.comparison)
    if answer.other_fold is not None and not end.comparison.is_equal:
        out.print(
            f"differences were to be expected: version {answer.other_fold} of the fold wrote the live rows, this "
            f"program has {projection.version}", soft_wrap=True,
        )  # fmt: skip
    if end.parked:
        events = "1 event is" if end.parked == 1 else f"{end.parked:,} events are"
        out.print(Text(f"{events} parked: jobledger projections parked {projection.name}", "red"), soft_wrap=True)
    if end.swapped and rebuild.scope.is_whole:
        words = f'jobledger projections drop-previous {projection.name} --reason "..."'
        out.print(Text.assemble(("the previous version is kept until: ", "dim"), words), soft_wrap=True)


def print_comparison(out: Console, keys: Sequence[str], compared: Comparison) -> None:
    """How live and fresh rows compare, and the first of those that differ."""
    at = f"at position {compared.position}"
    if compared.is_equal:
        out.print(Text.assemble(("the view was what the ledger says", "green"), f": {_rows(compared.rows_live)}, {at}"))
        out.print(Text.assemble(("digest ", "dim"), compared.digest_live))
        return
    sizes = f"the view had {_rows(compared.rows_live)}, the ledger says {_rows(compared.rows_fresh)}, {at}"
    out.print(Text.assemble((f"{_rows(compared.differing)} differed", "bold red"), f": {sizes}"), soft_wrap=True)
    _print_sample(out, keys, compared)
    out.print(Text.assemble(("digest before ", "dim"), compared.digest_live), soft_wrap=True)
    out.print(Text.assemble(("digest after  ", "dim"), compared.digest_fresh), soft_wrap=True)


def _print_sample(out: Console, keys: Sequence[str], compared: Comparison) -> None:
    listed = len(compared.sample)
    if listed:
        lines = [line for difference in compared.sample for line in _lines(difference)]
        out.print(table(", ".join(keys), "column", "live", "fresh", rows=lines))
    if not listed:
        out.print("[dim]none of them is listed here[/]")
    elif compared.differing > listed:
        out.print(f"[dim]the first {listed:,} of {_rows(compared.differing)} that differed[/]")


def print_interrupted(out: Console, handle: LedgerHandle, name: str) -> None:
    """What is left behind, and the two ways on."""
    rebuild = handle.shadows.unfinished(name)
    if rebuild is None:
        return
    seen = "it has taken its place" if rebuild.state is RebuildState.SWAPPED else "the live view is as it was"
    out.print(f"interrupted: the {what(rebuild)} stays as far as it is ({rebuild.state.value}); {seen}", soft_wrap=True)
    out.print(Text.assemble(("  go on    ", "dim"), command(rebuild)), soft_wrap=True)
    if rebuild.state is not RebuildState.SWAPPED:
        give_up = f'jobledger projections cancel {name} --reason "..."'
        out.print(Text.assemble(("  give up  ", "dim"), give_up), soft_wrap=True)


def _rows(count: int) -> str:
    return f"{count:,} {'row' if count == 1 else 'rows'}"


def _lines(difference: Difference) -> Iterator[tuple[str, str, str, str]]:
    key = ", ".join(str(part) for part in difference.key)
    if difference.live is None and difference.fresh is None:  # compared by another process: its values are not kept
        yield key, "", "?", "?"
        return
    if difference.live is None or difference.fresh is None:
        missing, there = "no such row", "a row"
        yield (key, "", *((missing, there) if difference.live is None else (there, missing)))
        return
    for name in difference.columns:
        yield key, name, _value(difference.live.get(name)), _value(difference.fresh[name])
        key = ""


def _value(value: object) -> str:
    text = "-" if value is None else time_text(value) if isinstance(value, datetime) else str(value)
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"

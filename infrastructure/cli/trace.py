"""What one request caused, as a tree."""

from __future__ import annotations

import shlex
from typing import NamedTuple
from uuid import UUID

from rich.console import Console
from rich.markup import escape
from rich.text import Text
from rich.tree import Tree

from jobledger.application.ports import TracedJob
from jobledger.application.queries import RefusedDispatch, Trace
from jobledger.domain.identifiers import short_id
from jobledger.domain.refusal import DispatchRefused

from ..shapes.texts import duration_text, first_line
from .lists import as_of_text
from .output import status_text

_BRANCHES_SHOWN = 100
"""Branches of one kind below one place; `--json` has all of the page."""

Branch = TracedJob | RefusedDispatch


class TraceCommand(NamedTuple):
    """What a command asked for."""

    correlation_id: str
    tenant: str | None
    limit: int

    def next(self, cursor: str) -> str:
        """The command that shows what follows."""
        owner = ["--tenant", self.tenant] if self.tenant else []
        words = ["jobledger", "jobs", "trace", self.correlation_id, *owner, "--limit", str(self.limit)]
        return shlex.join([*words, "--after", cursor])


def print_trace(console: Console, found: Trace, command: TraceCommand) -> None:
    """Print the tree, what it holds, and the command for its next page."""
    console.print(_tree(found))
    if not found.jobs and not found.refused:
        console.print("no further job of this tenant is part of this request")
    shown = f"{len(found.jobs):,} {'job' if len(found.jobs) == 1 else 'jobs'}"
    refused = f", {len(found.refused):,} refused" if found.refused else ""
    behind = found.freshness.head - found.freshness.position
    lag = f", {behind:,} positions behind the ledger" if behind > 0 else ""
    console.print(f"[dim]{shown}{refused}; {as_of_text(found.freshness)}{lag}[/]")
    if found.more:
        console.print("[dim]it caused more than is shown[/]")
    console.print("[dim]acts on jobs that were there before (requeue, cancel ...) stand in jobs history[/]")
    if found.cursor is not None:
        console.print(f"[dim]next page:[/] {escape(command.next(found.cursor))}", soft_wrap=True)


def _tree(found: Trace) -> Tree:
    root = Tree(Text(f"request {found.correlation_id}", style="bold"), guide_style="dim")
    shown = {job.job_id for job in found.jobs}
    below: dict[UUID | None, list[Branch]] = {}
    branches: list[Branch] = [*found.jobs, *found.refused]
    for branch in branches:
        cause = branch.caused_by
        below.setdefault(cause if cause in shown else None, []).append(branch)
    _grow(root, None, below, found.correlation_id)
    return root


def _grow(tree: Tree, cause: UUID | None, below: dict[UUID | None, list[Branch]], request: str) -> None:
    """Add branches and what is below them; by hand, because chains may be longer than Python likes to recurse."""
    waiting: list[tuple[Tree, UUID | None]] = [(tree, cause)]
    while waiting:
        place, job = waiting.pop()
        branches = below.pop(job, [])
        for branch in branches[:_BRANCHES_SHOWN]:
            if isinstance(branch, TracedJob):
                waiting.append((place.add(_job(branch, request, orphan=job is None)), branch.job_id))
            else:
                place.add(_refused(branch))
        if len(branches) > _BRANCHES_SHOWN:
            place.add(Text(f"and {len(branches) - _BRANCHES_SHOWN:,} more", style="dim"))


def _job(job: TracedJob, request: str, *, orphan: bool) -> Text:
    line = Text(f"{short_id(job.job_id)} ", style="bold")
    listed = job.listed
    if listed is None:
        line.append("(not listed yet)", style="dim")
    else:
        line.append(f"{listed.job_type} ", style="").append(status_text(listed.status.value, failed=listed.failed))
        took = (listed.updated_at - listed.created_at).total_seconds()
        line.append(f" {listed.attempts_counted}/{listed.attempts_allowed}, {duration_text(took)}", style="dim")
        if listed.failed and listed.error_type:
            line.append(f" {listed.error_type}: {first_line(listed.error_message or '')}", style="red")
    if job.correlation_id != request:
        line.append(f" (request {job.correlation_id})", style="dim")
    if orphan and job.caused_by is not None:
        line.append(f" (caused by job {short_id(job.caused_by)})", style="dim")
    elif orphan and job.causation_id is not None:
        line.append(f" (caused by {job.causation_id})", style="dim")
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


def _refused(branch: RefusedDispatch) -> Text:
    facts = branch.event.facts
    assert isinstance(facts, DispatchRefused)
    line = Text("refused ", style="bold red").append(f"{facts.type_claimed or '(no type)'}: {facts.message}", style="")
    line.append(f" ({facts.code}, {branch.event.metadata.actor})", style="dim")
    line.no_wrap, line.overflow = True, "ellipsis"
    return line

"""`jobledger stats`: what happened to a tenant's jobs, or in the queues, within a time."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import typer
from rich.text import Text

from jobledger.application.distribution import Distribution
from jobledger.application.ports import GroupBy, StatisticsGroup
from jobledger.application.statistics import GetQueueStatistics, GetTenantStatistics, StatisticsReport
from jobledger.domain.errors import InvalidInput

from ..shapes import statistics as stats_shapes
from ..shapes.texts import duration_text, time_text
from . import lists, options
from .json_output import print_json
from .output import STATUS_STYLE, console, table
from .session import opened
from .times import parse_past


class By(StrEnum):
    """What the lines are: a persona, a type ... An hour is the bucket of a tenant, a minute that of the queues."""

    TYPE = "type"
    QUEUE = "queue"
    PERSONA = "persona"
    HOUR = "hour"
    MINUTE = "minute"


_GROUPED = {
    By.TYPE: GroupBy.JOB_TYPE, By.QUEUE: GroupBy.QUEUE, By.PERSONA: GroupBy.PERSONA, By.HOUR: GroupBy.BUCKET,
    By.MINUTE: GroupBy.BUCKET,
}  # fmt: skip
_COUNTERS = ("dispatched", "started", "completed", "failed", "retried", "dead")
_STYLES = {"completed": STATUS_STYLE["completed"], "dead": STATUS_STYLE["dlq"], "failed": "red"}
_SHARES = (0.5, 0.95, 0.99)
_SPARE = ("wait p50", "wait p99", "run p99", "retried", "run p50", "cost", "started", "run p95", "wait p95")
"""What a narrow terminal does without, in this order; `--json` has it all."""

From = Annotated[
    str | None,
    typer.Option(
        "--from", help="Since this time, or for 2h, 7d; `all` for ever. A day without it.", show_default=False
    ),
]
To = Annotated[str | None, typer.Option("--to", help="Until this time, or 2h ago.", show_default=False)]
Grouping = Annotated[
    list[By] | None,
    typer.Option("--by", help="What a line is; several together. type, with --queues: queue.", show_default=False),
]
Groups = Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000, help="Lines at most.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(stats)


def stats(
    *,
    tenant: options.Tenant = None,
    queues: Annotated[bool, typer.Option("--queues", help="The queues, of all tenants together.")] = False,
    since: From = None,
    until: To = None,
    by: Grouping = None,
    limit: Groups = 50,
    as_json: options.Json = False,
) -> None:
    """Show how many jobs were dispatched, ran, failed and died, how long they waited and ran, and what that cost.

    Times are those at which it was recorded, in whole hours (queues: minutes). Percentiles are known as upper bounds:
    `3 s` says that so many took 3 s at most.
    """
    chosen = tuple(by or [By.QUEUE if queues else By.TYPE])
    with opened() as session:
        now = session.handle.ports.clock.now()
        begin = None if since == "all" else parse_past(since or "24h", "--from", now)
        end = parse_past(until, "--to", now)
        _refuse(bool(begin and end and end <= begin), "the time ends before it begins", "--to", "lies after --from")
        fields = {"since": begin, "until": end, "limit": limit}
        if queues:
            _refuse(tenant is not None, "the queues are those of all tenants", "--tenant", "not together with --queues")
            wrong = any(each not in {By.QUEUE, By.MINUTE} for each in chosen)
            _refuse(wrong, "queues are told apart by queue and minute", "--by", "queue, minute, or both")
            report = lists.page_of(session, GetQueueStatistics, **fields, by=_grouped(chosen))
        else:
            _refuse(By.MINUTE in chosen, "a tenant's statistics are kept by the hour", "--by", "hour; minute: --queues")
            owner = session.tenant(tenant)
            report = lists.page_of(session, GetTenantStatistics, **fields, by=_grouped(chosen), tenant=owner)
    if as_json:
        print_json(stats_shapes.report(report, _grouped(chosen)))
    else:
        _print(report, chosen)


def _grouped(by: Sequence[By]) -> frozenset[GroupBy]:
    return frozenset(_GROUPED[each] for each in by)


def _refuse(wrong: bool, message: str, field: str, rule: str) -> None:
    if wrong:
        raise InvalidInput(message, field=field, rule=rule)


def _print(report: StatisticsReport, by: Sequence[By]) -> None:
    out = console()
    if not report.groups:
        out.print(f"nothing happened {_period(report)}")
    else:
        columns = (
            *(each.value for each in by), *((name, "right") for name in _COUNTERS),
            *((f"{what} p{share * 100:.0f}", "right") for what in ("wait", "run") for share in _SHARES),
            ("cost", "right"),
        )  # fmt: skip
        out.print(table(*columns, rows=[_line(group, by) for group in report.groups], spare=_SPARE))
        more = f"; the first {len(report.groups)} lines: --limit, --from and --to show others" if report.more else ""
        out.print(f"[dim]{_period(report)}; percentiles are upper bounds{more}[/]", soft_wrap=True)
    lists.print_footer(out, [], None, report.freshness)


def _line(group: StatisticsGroup, by: Sequence[By]) -> tuple[str | Text, ...]:
    return (
        *(_name(group, each) for each in by),
        *(_count(name, getattr(group, name)) for name in _COUNTERS),
        *(_quantile(measured, share) for measured in (group.waited, group.ran) for share in _SHARES),
        f"{group.estimated_cost:.2f}" if group.estimated_cost else "-",
    )  # fmt: skip


def _name(group: StatisticsGroup, by: By) -> str:
    if by in {By.HOUR, By.MINUTE}:
        return time_text(group.bucket_at)[:-3]  # to the minute
    return {By.TYPE: group.job_type, By.QUEUE: group.queue, By.PERSONA: group.persona}[by] or "-"


def _count(name: str, counted: int) -> Text:
    return Text(f"{counted:,}", style=_STYLES.get(name, "") if counted else "dim")


def _quantile(measured: Distribution, share: float) -> str:
    estimate = measured.quantile(share)
    if estimate is None:
        return "-"
    if estimate.at_most_seconds is None:
        return f"> {duration_text(estimate.over_seconds)}"
    return duration_text(estimate.at_most_seconds)


def _period(report: StatisticsReport) -> str:
    begin = f"from {time_text(report.since)[:-3]} UTC" if report.since else "from the beginning"
    end = f" to {time_text(report.until)[:-3]} UTC" if report.until else " until now"
    return f"{begin}{end}"

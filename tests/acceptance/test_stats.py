"""`jobledger stats`: what happened, for a tenant and for operators."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest

from tests.support.cli import Cli

WHY = ("--reason", "trying it out")


@pytest.fixture
def busy(cli: Cli) -> Cli:
    """A ledger on which three jobs completed, one of them for a persona, and one failed twice before."""
    for number in range(2):
        cli("dispatch", "sample.ok", "--payload", json.dumps({"text": str(number)}), *WHY)
    cli("dispatch", "sample.keyed", "--payload", '{"text": "k"}', "--persona", "billing-bot", *WHY)
    cli("dispatch", "sample.flaky", "--payload", '{"failures": 2}', *WHY)
    cli("work", "--drain")
    return cli


def test_a_tenants_jobs_are_counted_by_type(busy: Cli) -> None:
    """A line a type: how many, how long they waited and ran, what they cost; what failed is counted."""
    report = busy("stats", "--json").json
    groups = {group["type"]: group for group in report["groups"]}
    counts = {name: (group["dispatched"], group["started"], group["completed"], group["failed"], group["retried"])
              for name, group in groups.items()}  # fmt: skip
    assert counts == {"sample.ok": (2, 2, 2, 0, 0), "sample.keyed": (1, 1, 1, 0, 0), "sample.flaky": (1, 3, 1, 2, 2)}
    assert groups["sample.ok"]["estimated_cost"] == 0.02
    ran = groups["sample.flaky"]["ran"]
    assert ran["count"] == sum(ran["counts"]) == 3 and len(ran["counts"]) == len(ran["bounds_seconds"]) + 1
    assert ran["p50_at_most_seconds"] in ran["bounds_seconds"]
    assert report["freshness"]["lag_positions"] == 0 and report["more"] is False
    out = busy("stats").out
    assert "sample.flaky" in out and "run p95" in out and "nothing is missing" in out


def test_what_a_line_is_can_be_chosen(busy: Cli) -> None:
    """Persona, queue, hour, or several together; jobs without a persona have a line of their own."""
    personas = busy("stats", "--by", "persona", "--json").json["groups"]
    assert {(group["persona"], group["dispatched"]) for group in personas} == {(None, 3), ("billing-bot", 1)}
    assert {group["queue"] for group in busy("stats", "--by", "queue", "--json").json["groups"]} == {"default", "keyed"}
    hours = busy("stats", "--by", "hour", "--by", "type", "--json").json
    assert hours["by"] == ["bucket_at", "type"]
    assert {datetime.fromisoformat(group["bucket_at"]).minute for group in hours["groups"]} == {0}
    assert sum(group["completed"] for group in hours["groups"]) == 4


def test_a_time_is_widened_to_whole_buckets(busy: Cli) -> None:
    """The answer says from when to when it is; outside of it nothing happened."""
    report = busy("stats", "--from", "1m", "--json").json
    since = datetime.fromisoformat(report["since"])
    assert (since.minute, since.second, report["until"]) == (0, 0, None)
    before = (since - timedelta(days=2)).isoformat()
    report = busy("stats", "--from", before, "--to", (since - timedelta(days=1)).isoformat(), "--json").json
    assert report["groups"] == []
    assert "nothing happened" in busy("stats", "--from", before, "--to", "1d").out
    assert busy("stats", "--from", "all", "--json").json["since"] is None


def test_operators_see_the_queues_of_all_tenants(busy: Cli) -> None:
    """By queue, or minute by minute; other tenants' jobs are in it."""
    busy("tenants", "create", "beta", *WHY)
    busy("dispatch", "sample.ok", "--tenant", "beta", "--payload", '{"text": "x"}', *WHY)
    queues = {group["queue"]: group for group in busy("stats", "--queues", "--json").json["groups"]}
    assert {name: group["dispatched"] for name, group in queues.items()} == {"default": 4, "keyed": 1}
    assert "persona" not in queues["default"]
    minutes = busy("stats", "--queues", "--by", "minute", "--json").json["groups"]
    assert sum(group["started"] for group in minutes) == 6
    assert [group["dispatched"] for group in busy("stats", "--tenant", "beta", "--json").json["groups"]] == [1]


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (("--queues", "--tenant", "acme"), "--tenant"),
        (("--queues", "--by", "persona"), "--by"),
        (("--by", "minute"), "--by"),
        (("--from", "yesterday"), "--from"),
        (("--from", "1h", "--to", "2h"), "--to"),
    ],
)
def test_what_makes_no_sense_is_refused(cli: Cli, words: tuple[str, ...], field: str) -> None:
    """With the option that it is about."""
    assert cli("stats", *words, "--json", code=1).error["field"] == field


def test_a_tenant_that_is_unknown_is_refused(cli: Cli) -> None:
    """As everywhere."""
    assert cli("stats", "--tenant", "nobody", "--json", code=1).error["code"] == "unknown_tenant"

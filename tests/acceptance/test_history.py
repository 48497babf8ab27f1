"""The past of jobs through the command line, on both engines: history, show and list --as-of, diff, trace, explain."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.cli import Cli

WHY = ("--reason", "trying it out")


def dispatched(cli: Cli, job_type: str, payload: dict[str, object], *words: str) -> str:
    """Dispatch a job; its id."""
    answer = cli("dispatch", job_type, "--payload", json.dumps(payload), *WHY, *words, "--json").json
    return str(answer["job_id"])


def history(cli: Cli, job_id: str, *words: str) -> dict[str, Any]:
    """The answer of `jobs history`."""
    found: dict[str, Any] = cli("jobs", "history", job_id, *words, "--json").json
    return found


def test_a_job_is_shown_as_it_was(cli: Cli) -> None:
    """As of each version and each moment of its history: the status it had, and how much came later."""
    job_id = dispatched(cli, "sample.hopeless", {"text": "x"})
    cli("work", "--drain")
    events = history(cli, job_id)["events"]
    statuses = ["pending", "in_progress", "in_progress", "dlq"]
    for event, status in zip(events, statuses, strict=True):
        by_version = cli("jobs", "show", job_id, "--as-of", str(event["version"]), "--json").json["job"]
        assert (by_version["status"], by_version["version"]) == (status, event["version"])
        assert by_version["past"]["later_events"] == 4 - event["version"] and by_version["waits_for"] == []
        by_time = cli("jobs", "show", job_id, "--as-of", event["recorded_at"], "--json").json["job"]
        assert by_time["status"] == (status if event["version"] < 3 else "dlq")
    assert cli("jobs", "show", job_id, "--json").json["job"]["past"] is None
    text = cli("jobs", "show", job_id[-8:], "--as-of", "2").out
    assert "as it was in version 2" in text and "2 events since" in text and "in_progress" in text
    refused = cli("jobs", "show", job_id, "--as-of", "2020-01-01T00:00:00Z", "--json", code=1)
    assert refused.error["field"] == "--as-of" and "it was dispatched at" in refused.error["message"]
    refused = cli("jobs", "show", job_id, "--as-of", "9", "--json", code=1)
    assert "no version 9: its last is 4" in refused.error["message"]
    assert "no version 0" in cli("jobs", "show", job_id, "--as-of", "0", "--json", code=1).error["message"]


def test_jobs_are_listed_as_they_were(cli: Cli) -> None:
    """A job that is dead now was pending then, and one that came later was not there."""
    first = dispatched(cli, "sample.hopeless", {"text": "x"})
    moment = history(cli, first)["events"][0]["recorded_at"]
    cli("work", "--drain")
    dispatched(cli, "sample.ok", {"text": "x"})
    answer = cli("jobs", "list", "--as-of", moment, "--json").json
    assert [(row["job_id"], row["status"]) for row in answer["jobs"]] == [(first, "pending")]
    assert (answer["past"]["as_of"], answer["scanned"], answer["next"]) == (moment, 1, None)
    assert cli("jobs", "list", "--as-of", moment, "--status", "dlq", "--json").json["jobs"] == []
    text = cli("jobs", "list", "--as-of", moment).out
    assert "as they were at" in text and "1 job looked at" in text
    page = cli("jobs", "list", "--as-of", "0s", "--limit", "1").out
    command = page[page.index("next page: jobledger ") :].split("jobledger ")[1].split()
    assert cli(*command, "--json").json["jobs"][0]["job_id"] == first


def test_a_diff_names_what_changed(cli: Cli) -> None:
    """Fields, and the places of an edited payload: values only with --bodies."""
    job_id = dispatched(cli, "sample.flaky", {"failures": 10})
    cli("work", "--drain")
    dead = history(cli, job_id)["events"][-1]["version"]
    text = cli("jobs", "diff", job_id[-8:], "1", str(dead)).out
    for words in ("status", "pending -> dlq", "attempts_counted", "0 -> 3", "started x3"):
        assert words in text
    cli("dlq", "requeue", job_id, *WHY, "--payload", '{"failures": 0}')
    answer = cli("jobs", "diff", job_id, str(dead), "--json").json
    assert answer["payload"] == {"places": [{"op": "replace", "path": "/failures"}], "differences": None}
    assert "10" not in cli("jobs", "diff", job_id, str(dead)).out.partition("payload")[2]
    assert "~ /failures: 10 -> 0" in cli("jobs", "diff", job_id, str(dead), "--bodies").out


def test_a_trace_shows_what_a_request_caused(cli: Cli) -> None:
    """A tree of its jobs, those that these caused, and what was refused on the way."""
    family = cli.with_variables(JOBLEDGER_APP="tests.support.family_app")
    family("work", "--drain")
    root = dispatched(family, "family.parent", {"children": 2, "unknown": True})
    family("work", "--drain")
    past = history(family, root)
    answer = family("jobs", "trace", past["correlation_id"], "--json").json
    assert [job["caused_by"] for job in answer["jobs"]] == [None, root, root]
    assert [job["job"]["type"] for job in answer["jobs"]] == ["family.parent", "family.child", "family.child"]
    assert [(each["type_claimed"], each["caused_by"]) for each in answer["refused"]] == [("family.unknown", root)]
    tree = family("jobs", "trace", past["correlation_id"]).out
    assert f"    ├── {answer['jobs'][1]['job_id'][-8:]} family.child completed" in tree
    assert "refused family.unknown" in tree and "3 jobs, 1 refused" in tree
    assert [job["job_id"] for job in past["caused"]] == [job["job_id"] for job in answer["jobs"][1:]]
    child = history(family, past["caused"][0]["job_id"])
    assert (child["cause"]["job_id"], child["cause"]["topic"]) == (root, "job.started")
    assert "-> job " in family("jobs", "history", root).out
    assert f"caused by: job {root[-8:]} family.parent" in family("jobs", "history", child["job_id"]).out


def test_a_request_that_nobody_made_is_not_found(cli: Cli) -> None:
    """With until when that is known; nor one of another tenant's."""
    refused = cli("jobs", "trace", "no-such-request", "--json", code=1).error
    assert (refused["code"], refused["field"]) == ("not_found", "CORRELATION_ID")
    assert "nothing is known of a request 'no-such-request'" in refused["message"]
    assert ", as of " in refused["message"] and "position " in refused["message"] and refused["hint"]
    cli("tenants", "create", "other", "--reason", "another customer")
    request = history(cli, dispatched(cli, "sample.ok", {"text": "x"}))["correlation_id"]
    assert len(cli("jobs", "trace", request, "--json").json["jobs"]) == 1
    assert cli("jobs", "trace", request, "--tenant", "other", "--json", code=1).error["code"] == "not_found"


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (("show", "0" * 8), "ID"), (("show", "none"), "ID"), (("history", "0" * 8), "ID"), (("explain", "0" * 8), "ID"),
        (("diff", "0" * 8, "1"), "ID"), (("trace", ""), "CORRELATION_ID"), (("trace", "x", "--after", "y"), "--after"),
        (("list", "--persona", ""), "--persona"), (("list", "--tenant", "nobody"), "--tenant"),
        (("list", "--after", "x"), "--after"), (("list", "--as-of", "5"), "--as-of"), (("cancel", "0" * 8), "ID"),
        (("reschedule", "0" * 8, "--reason", "x", "--priority", "1"), "ID"),
    ],
)  # fmt: skip
def test_refusals_name_what_was_typed(cli: Cli, words: tuple[str, ...], field: str) -> None:
    """The option or the argument, not the program's own name for it."""
    assert cli("jobs", *words, "--json", code=1).error["field"] == field


def test_a_diff_names_the_version_that_is_not_there(cli: Cli) -> None:
    """FROM or TO."""
    job_id = dispatched(cli, "sample.ok", {"text": "x"})
    for words, field in (("9", "1"), "FROM"), (("1", "9"), "TO"):
        error = cli("jobs", "diff", job_id, *words, "--json", code=1).error
        assert error["field"] == field and "no version 9" in error["message"]


def test_a_history_is_paged_and_folds_noise(cli: Cli) -> None:
    """Pages follow each other without a gap; runs of progress and logs are one line unless asked for."""
    family = cli.with_variables(JOBLEDGER_APP="tests.support.family_app")
    family("work", "--drain")
    job_id = dispatched(family, "family.noisy", {})
    family("work", "--drain")
    versions: list[int] = []
    after: int | None = 0
    while after is not None:
        page = history(family, job_id, "--limit", "2", "--after", str(after))
        versions += [event["version"] for event in page["events"]]
        assert after == 0 or page["events"][0]["seconds"] is not None
        after = page["next"]
    assert versions == list(range(1, len(versions) + 1))
    assert history(family, job_id)["events"][-1]["attempt_seconds"] is not None
    folded, unfolded = family("jobs", "history", job_id).out, family("jobs", "history", job_id, "--all").out
    assert "--all shows each" in folded and len(folded.splitlines()) < len(unfolded.splitlines())
    assert "next page: jobledger jobs history" in family("jobs", "history", job_id, "--limit", "1").out


def test_a_job_explains_itself(cli: Cli) -> None:
    """One that waits says for what, one that is dead of what, one that completed when."""
    waiting = dispatched(cli, "sample.ok", {"text": "x"})
    answer = cli("jobs", "explain", waiting, "--json").json
    assert answer["status"] == "pending" and "never ran" in answer["account"]
    assert answer["waits_for"][0]["kind"] == "no_worker"
    assert "no worker that runs" in cli("jobs", "explain", waiting[-8:]).out
    dead = dispatched(cli, "sample.hopeless", {"text": "x"})
    cli("work", "--drain")
    assert "it completed in attempt 1" in cli("jobs", "explain", waiting).out
    text = cli("jobs", "explain", dead).out
    assert "is dead, no retry can help" in text and f"jobledger dlq show {dead[-8:]}" in text

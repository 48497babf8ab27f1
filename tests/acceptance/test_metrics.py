"""The port of a worker, as a scraper and an orchestrator see it: real processes, real HTTP."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.test_processes import WHY, slow_job
from tests.support.cli import Answer, Cli, Running
from tests.support.waiting import until

Samples = dict[str, float]
"""Values by name and labels: `name{label="value"}`, labels in order."""


def url_of(worker: Running) -> str:
    """Where the worker said that it listens."""
    found: list[str] = []

    def look() -> bool:
        lines = Path(f"/proc/self/fd/{worker.err.fileno()}").read_text("utf-8").splitlines()
        events = [json.loads(line) for line in lines if line.startswith("{")]
        found.extend(event["url"] for event in events if event["event"] == "metrics.listening")
        return bool(found)

    until(look)
    return found[0]


def get(url: str, **headers: str) -> tuple[int, str]:
    """Status and body."""
    try:
        with urlopen(Request(url, headers=headers), timeout=20) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as refused:
        return refused.code, refused.read().decode()


def samples(url: str) -> Samples:
    """All values of a scrape, read by Prometheus' own parser."""
    status, body = get(f"{url}/metrics")
    assert status == 200
    return {
        f"{sample.name}{{{','.join(f'{name}={value}' for name, value in sorted(sample.labels.items()))}}}": sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
    }


def failed_checks(url: str, probe: str) -> tuple[int, list[str]]:
    """The status of a probe, and which checks failed."""
    status, body = get(f"{url}/{probe}")
    return status, [check["name"] for check in json.loads(body)["checks"] if not check["passed"]]


def test_a_scrape_tells_of_jobs_queues_and_the_worker(cli: Cli) -> None:
    """What ran and how it ended, what it took and cost, what waits and is dead, and what the process uses."""
    for number in range(3):
        cli("dispatch", "sample.ok", "--payload", json.dumps({"text": "hi", "number": number}), *WHY)
    cli("dispatch", "sample.flaky", "--payload", '{"failures": 1}', *WHY)
    cli("dispatch", "sample.hopeless", "--payload", '{"text": "no"}', *WHY)
    with cli.running("work", "--metrics-port", "0", "--concurrency", "5") as worker:
        url = url_of(worker)
        assert url.startswith("http://127.0.0.1:"), "nobody else's business, unless asked for"
        ok = "job_type=sample.ok,outcome=completed,queue=default"
        until(lambda: samples(url).get(f"jobledger_job_outcomes_total{{{ok}}}") == 3)
        flaky = "job_type=sample.flaky,{}queue=default"
        until(lambda: samples(url).get(f"jobledger_job_outcomes_total{{{flaky.format('outcome=completed,')}}}") == 1)
        until(lambda: samples(url).get("jobledger_dead_jobs{queue=default}") == 1)
        seen = samples(url)
        worker.stop()
    assert seen[f"jobledger_job_outcomes_total{{{flaky.format('outcome=retried,')}}}"] == 1
    assert seen["jobledger_job_outcomes_total{job_type=sample.hopeless,outcome=dead,queue=default}"] == 1
    assert seen[f"jobledger_job_run_seconds_count{{{flaky.format('')}}}"] == 2, "each attempt, not each job"
    assert seen["jobledger_job_queue_seconds_count{job_type=sample.ok,queue=default}"] == 3
    assert seen["jobledger_job_queue_seconds_bucket{job_type=sample.ok,le=+Inf,queue=default}"] == 3
    assert seen["jobledger_job_estimated_cost_total{job_type=sample.ok,queue=default}"] == pytest.approx(0.03)
    assert seen["jobledger_ready_jobs{queue=default}"] == 0, "an empty queue says so, it does not vanish"
    assert seen["jobledger_lease_expirations_total{queue=default}"] == 0
    assert (seen["jobledger_worker_slots{}"], seen["jobledger_worker_clock_skew_seconds{}"]) == (5, 0)
    assert seen["jobledger_worker_cpu_seconds_total{}"] > 0 and seen["jobledger_worker_memory_bytes{}"] > 10_000_000
    assert {name for name in seen if name.startswith("jobledger_projection_lag_seconds")} >= {
        "jobledger_projection_lag_seconds{projection=tenant_jobs}",
        "jobledger_projection_lag_seconds{projection=dlq_jobs}",
    }
    assert seen["jobledger_horizon_age_seconds{}"] >= 0
    assert not [name for name in seen if "tenant=" in name]


def test_what_runs_is_told_while_it_runs(cli: Cli) -> None:
    """Slots in use, and handlers by type."""
    with cli.running("work", "--metrics-port", "0", "--concurrency", "3") as worker:
        url = url_of(worker)
        _, started, release = slow_job(cli)
        until(started.exists)
        assert samples(url)["jobledger_worker_slots_used{}"] == 1
        until(lambda: samples(url).get("jobledger_worker_running_jobs{job_type=sample.slow}") == 1)
        release.touch()
        until(lambda: samples(url)["jobledger_worker_slots_used{}"] == 0)


def test_tenants_are_told_apart_where_asked_for(cli: Cli) -> None:
    """And a scraper that prefers OpenMetrics gets that."""
    with cli.with_variables(JOBLEDGER_METRICS_TENANT_LABEL="true").running("work", "--metrics-port", "0") as worker:
        url = url_of(worker)
        cli("dispatch", "sample.ok", "--payload", '{"text": "hi"}', *WHY)
        name = "jobledger_job_outcomes_total{job_type=sample.ok,outcome=completed,queue=default,tenant=acme}"
        until(lambda: samples(url).get(name) == 1)
        _, body = get(f"{url}/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert body.rstrip().endswith("# EOF")
    assert "jobledger_job_outcomes" in {family.name for family in parse_openmetrics(body)}  # type: ignore[no-untyped-call]


def test_probes_of_a_worker_from_its_start_to_its_end(cli: Cli) -> None:
    """Ready once it works; alive, and not ready, while it finishes what it has."""
    with cli.running("work", "--metrics-port", "0") as worker:
        url = url_of(worker)
        until(lambda: failed_checks(url, "readyz") == (200, []))
        assert failed_checks(url, "livez") == (200, [])
        _, started, release = slow_job(cli)
        until(started.exists)
        worker.process.send_signal(signal.SIGTERM)
        until(lambda: failed_checks(url, "readyz") == (503, ["taking jobs"]))
        assert failed_checks(url, "livez") == (200, [])
        release.touch()
        assert worker.wait().code == 0


def test_a_worker_that_was_stopped_for_long_is_found_out(cli: Cli) -> None:
    """Stopped like a laptop that is shut: it answers nothing; and what it lost is counted by whoever found it."""
    quick = cli.with_variables(
        JOBLEDGER_LEASE_SECONDS="1", JOBLEDGER_LEASE_RENEW_BUFFER_SECONDS="0.5",
        JOBLEDGER_MAINTENANCE_INTERVAL_SECONDS="1",
    )  # fmt: skip
    with quick.running("work", "--queue", "default") as lost:
        _, started, release = slow_job(cli)
        until(started.exists)
        os.kill(lost.process.pid, signal.SIGSTOP)
        release.touch()
        with quick.running("work", "--metrics-port", "0") as worker:
            url = url_of(worker)
            until(lambda: samples(url)["jobledger_lease_expirations_total{queue=default}"] == 1)
            worker.stop()


def test_a_port_that_is_taken_ends_the_worker(cli: Cli) -> None:
    """At the start, with the setting to change: not a worker without probes."""
    with cli.running("work", "--metrics-port", "0") as first:
        port = url_of(first).rpartition(":")[2]
        answer: Answer = cli.with_variables(JOBLEDGER_METRICS_PORT=port)("work", "--json", code=2)
        assert answer.error["field"] == "JOBLEDGER_METRICS_PORT"


def test_nothing_listens_unless_asked(cli: Cli) -> None:
    """No port, no word of one."""
    cli("dispatch", "sample.ok", "--payload", '{"text": "hi"}', *WHY)
    assert "metrics" not in cli.program("work", "--drain").err

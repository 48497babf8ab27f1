"""The metrics of a worker in Prometheus' terms, put together at each scrape. Only this and `server_collector` import
prometheus-client."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from jobledger.application.ports import Clock, QueueCount
from jobledger.application.worker import Worker
from jobledger.application.worker.self_report import WorkerState
from jobledger.domain.job import JobStatus

from .sampler import Measured, Sampler
from .tally import OUTCOMES, Histogram, SeriesKey, Tallied, Tally

_QUEUE_GAUGES = {
    JobStatus.PENDING: ("jobledger_ready_jobs", "Jobs that could start now, by queue, of the whole installation."),
    JobStatus.DELAYED: ("jobledger_delayed_jobs", "Jobs that wait for their time, by queue, of the installation."),
    JobStatus.BLOCKED: ("jobledger_blocked_jobs", "Jobs that wait for others, by queue, of the installation."),
    JobStatus.IN_PROGRESS: ("jobledger_running_jobs", "Jobs that workers hold, by queue, of the whole installation."),
    JobStatus.DLQ: ("jobledger_dead_jobs", "Jobs in the dead-letter queue, by queue, of the whole installation."),
}  # fmt: skip


class LedgerExposition(Collector):
    """What every process shows of its jobs and of the ledger. Collects at each scrape, and renders in the format that
    the client accepts."""

    def __init__(self, queues: Iterable[str], tally: Tally, sampler: Sampler, clock: Clock) -> None:
        self._tally = tally
        self._sampler = sampler
        self._clock = clock
        self._queues = set(queues)
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def render(self, accept: str) -> tuple[str, bytes]:
        """Content type and body."""
        encode, content_type = choose_encoder(accept)
        return content_type, encode(self._registry)

    def describe(self) -> Iterable[Metric]:
        """Nothing ahead of the first scrape: registering must not ask the ledger."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All metrics, as they are now."""
        yield from _of_jobs(self._tally.snapshot(), self._queues)
        yield from self.of_process()
        yield gauge("jobledger_ledger_not_measured", "Times that the ledger could not be measured.",
                     self._sampler.failures, counter=True)  # fmt: skip
        measured = self._sampler.latest()
        if measured is not None:
            yield from self._of_ledger(measured)

    @abstractmethod
    def of_process(self) -> Iterator[Metric]:
        """What this process does and uses."""

    def _of_ledger(self, measured: Measured) -> Iterator[Metric]:
        yield from self._of_queues(measured.counts)
        events = GaugeMetricFamily(
            "jobledger_projection_lag_events", "Events that a read model has not taken yet, counted up to 10,000.",
            labels=["projection"],
        )  # fmt: skip
        seconds = GaugeMetricFamily(
            "jobledger_projection_lag_seconds", "Age of the oldest event that a read model has not taken yet.",
            labels=["projection"],
        )  # fmt: skip
        for lag in measured.lag.projections:
            events.add_metric([lag.projection], lag.events)
            seconds.add_metric([lag.projection], lag.seconds)
        yield events
        yield seconds
        yield _of_parked(measured)
        yield gauge(
            "jobledger_horizon_age_seconds", "How long the oldest committed event that cannot be read yet has waited.",
            measured.lag.horizon_age_seconds,
        )  # fmt: skip
        yield gauge("jobledger_ledger_measured_age_seconds", "Age of what this port says about queues and lag.",
                     self._clock.monotonic() - measured.at)  # fmt: skip

    def _of_queues(self, counts: Iterable[QueueCount]) -> Iterator[Metric]:
        by_queue = {(count.queue, count.status): count.jobs for count in counts}
        self._queues.update(queue for queue, _ in by_queue)  # a queue that ran empty says 0, it does not vanish
        for status, (name, documentation) in _QUEUE_GAUGES.items():
            family = GaugeMetricFamily(name, documentation, labels=["queue"])
            for queue in sorted(self._queues):
                family.add_metric([queue], by_queue.get((queue, status), 0))
            yield family


class Exposition(LedgerExposition):
    """Of a worker."""

    def __init__(self, worker: Worker, tally: Tally, sampler: Sampler, clock: Clock) -> None:
        super().__init__(worker.options.queues, tally, sampler, clock)
        self._worker = worker

    def of_process(self) -> Iterator[Metric]:
        """Its slots, what it uses, who it is."""
        yield from _of_worker(self._worker.state)
        report = self._worker.state.report
        labels = ["worker", "app", "host", "code_version"]
        family = GaugeMetricFamily("jobledger_worker_info", "The worker behind this port; always 1.", labels=labels)
        family.add_metric([self._worker.name, report.app, report.host, self._worker.code_version], 1)
        yield family


def _of_parked(measured: Measured) -> Metric:
    """Views of which nothing is parked say 0: a rise from nothing is seen by no alert."""
    family = GaugeMetricFamily(
        "jobledger_projection_parked_events",
        "Events that a read model could not take (failed), or holds back behind those (waiting).",
        labels=["projection", "state"],
    )  # fmt: skip
    for name in sorted({*measured.parked, *(lag.projection for lag in measured.lag.projections)}):
        for state, events in zip(("failed", "waiting"), measured.parked.get(name, (0, 0)), strict=True):
            family.add_metric([name, state], events)
    return family


# --- what this process committed -------------------------------------------------------------------------------------


def _of_jobs(tallied: Tallied, queues: Iterable[str]) -> Iterator[Metric]:
    labels = ["job_type", "queue"] + (["tenant"] if any(key.tenant for key in tallied.series) else [])
    dispatched = CounterMetricFamily("jobledger_jobs_dispatched", "Jobs dispatched by this process.", labels=labels)
    outcomes = CounterMetricFamily(
        "jobledger_job_outcomes", "What became of attempts, recorded by this process.", labels=[*labels, "outcome"]
    )
    queued = HistogramMetricFamily(
        "jobledger_job_queue_seconds", "From due to begun, of attempts that completed or failed.", labels=labels
    )
    ran = HistogramMetricFamily(
        "jobledger_job_run_seconds", "How long attempts ran that completed or failed.", labels=labels
    )
    cost = CounterMetricFamily(
        "jobledger_job_estimated_cost", "Estimated by the types' rate cards, failed attempts included.", labels=labels
    )
    cpu = CounterMetricFamily(
        "jobledger_job_cpu_seconds", "CPU seconds of attempts that completed or failed.", labels=labels
    )
    stalls = dict.fromkeys(queues, 0)
    for key, series in sorted(tallied.series.items()):
        values = _values(key, labels)
        dispatched.add_metric(values, series.dispatched)
        for outcome in OUTCOMES.values():  # those that never came too: a rise from nothing is seen by no alert
            outcomes.add_metric([*values, outcome], series.outcomes[outcome])
        add_histogram(queued, values, series.queued)
        add_histogram(ran, values, series.ran)
        cost.add_metric(values, series.cost)
        cpu.add_metric(values, series.cpu_seconds)
        stalls[key.queue] = stalls.get(key.queue, 0) + series.outcomes["stalled"]
    yield from (dispatched, outcomes, queued, ran, cost, cpu)
    yield _counters("jobledger_lease_expirations", "Running jobs whose worker was not heard of, found by this process.",
                    "queue", stalls)  # fmt: skip
    yield _of_units(tallied.units)


def _of_units(units: Mapping[tuple[str, str], float]) -> Metric:
    family = CounterMetricFamily(
        "jobledger_job_units", "Units that handlers reported with context.usage().", labels=["job_type", "unit"]
    )
    for (job_type, unit), amount in sorted(units.items()):
        family.add_metric([job_type, unit], amount)
    return family


def _values(key: SeriesKey, labels: list[str]) -> list[str]:
    return [key.job_type, key.queue, key.tenant][: len(labels)]


def add_histogram(family: HistogramMetricFamily, labels: list[str], histogram: Histogram) -> None:
    """A series more, its buckets added up as Prometheus wants them."""
    bounds = [*(f"{bound:g}" for bound in histogram.bounds), "+Inf"]
    family.add_metric(labels, list(zip(bounds, accumulate(histogram.counts), strict=True)), histogram.total)


# --- what this process does and uses ---------------------------------------------------------------------------------


def _of_worker(state: WorkerState) -> Iterator[Metric]:
    report = state.report
    yield gauge("jobledger_worker_slots", "Jobs that the worker runs at the same time at most.", state.concurrency)
    yield gauge("jobledger_worker_slots_used", "Slots in which a handler runs.", state.running)
    yield gauge("jobledger_worker_slots_quarantined", "Slots lost to handlers past their timeout.", report.quarantined)
    yield gauge("jobledger_worker_claimed_ahead_jobs", "Jobs that were claimed and wait for a slot.", state.waiting)
    yield gauge("jobledger_worker_settle_backlog_jobs", "Endings of jobs that are not durable yet.", state.unsettled)
    yield gauge("jobledger_worker_cpu_seconds", "CPU seconds of the process and its children.", report.cpu_seconds,
                 counter=True)  # fmt: skip
    yield gauge("jobledger_worker_memory_bytes", "Resident memory of the process and its children.", report.rss_bytes)
    yield gauge("jobledger_worker_clock_skew_seconds", "How far the worker's clock is ahead of the database's.",
                 state.clock_skew_seconds)  # fmt: skip
    running = GaugeMetricFamily(
        "jobledger_worker_running_jobs", "Handlers that ran at the last heartbeat, by job type.", labels=["job_type"]
    )
    for job_type, count in sorted(report.running_by_type.items()):
        running.add_metric([job_type], count)
    yield running
    yield _counters("jobledger_ledger_errors", "Times that the ledger failed this worker, by kind.", "error",
                    state.ledger_errors)  # fmt: skip


def gauge(name: str, documentation: str, value: float, *, counter: bool = False) -> Metric:
    """A family of one value."""
    family = (CounterMetricFamily if counter else GaugeMetricFamily)(name, documentation)
    family.add_metric([], value)
    return family


def _counters(name: str, documentation: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, documentation, labels=[label])
    for value, count in sorted(values.items()):
        family.add_metric([value], count)
    return family

"""The metrics of a server in Prometheus' terms."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

from jobledger.application.ports import Clock

from .collector import LedgerExposition, add_histogram, gauge
from .requests import Requested, ServerLoad
from .sampler import Sampler
from .tally import Tally


class ServerExposition(LedgerExposition):
    """Of a server."""

    def __init__(
        self, load: Callable[[], ServerLoad], writes_waiting: Callable[[], int], tally: Tally, sampler: Sampler,
        clock: Clock,
    ) -> None:  # fmt: skip
        super().__init__((), tally, sampler, clock)
        self._load = load
        self._writes_waiting = writes_waiting

    def of_process(self) -> Iterator[Metric]:
        """Requests, and what they wait for."""
        load = self._load()
        yield from _of_requests(load.requests)
        yield gauge("jobledger_http_requests_in_flight", "Requests under way, live streams and claims that wait "
                    "among them.", load.requests.in_flight)  # fmt: skip
        yield gauge("jobledger_http_connections", "Connections that are open.", load.connections)
        yield gauge("jobledger_http_streams", "Live streams of events that are open.", load.streams)
        yield gauge("jobledger_http_threads", "Requests that may ask the ledger at the same time.", load.threads)
        yield gauge("jobledger_http_threads_used", "Requests that ask the ledger just now.", load.threads_used)
        yield gauge("jobledger_http_threads_awaited", "Requests that wait for one of these threads.",
                    load.requests_waiting)  # fmt: skip
        yield gauge("jobledger_group_commit_waiting_writes", "Writes that wait for the next group commit.",
                    self._writes_waiting())  # fmt: skip


def _of_requests(requested: Requested) -> Iterator[Metric]:
    labels = ["method", "route"]
    answers = CounterMetricFamily(
        "jobledger_http_requests", "Requests that are over, by route and class of status.", labels=[*labels, "status"]
    )
    for (key, status), count in sorted(requested.answers.items()):
        answers.add_metric([*key, status], count)
    seconds = HistogramMetricFamily(
        "jobledger_http_request_seconds", "From a request's head to the end of its answer.", labels=labels
    )
    for key, histogram in sorted(requested.seconds.items(), key=lambda of_key: of_key[0]):
        add_histogram(seconds, list(key), histogram)
    yield from (answers, seconds)

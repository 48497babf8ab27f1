"""Steps: what a handler did once and never does again, whatever is retried (rule 10)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

from pydantic_core import PydanticSerializationError, from_json, to_json

from jobledger.domain import job as jobs
from jobledger.domain.errors import InvalidInput, LeaseLost, LedgerBusy, LedgerUnavailable, PayloadTooLarge
from jobledger.domain.job import JobLogged, JobStepRecorded
from jobledger.domain.job_type import PAYLOAD_BYTES_MAX

from ..writes import WriteStatus
from .attempt import Attempt, Services
from .failures import is_text
from .outcomes import Report, report_change
from .reporting import Reporter
from .transactions import HandlersTransaction

T = TypeVar("T")

STEP_NAME_CHARACTERS = 200
_PAUSES_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0)


class _Recorded(NamedTuple):
    """What earlier attempts left in the job's stream."""

    outputs: dict[str, bytes]
    logged_bytes: int


class Steps:
    """The steps of one attempt. Those of earlier attempts are read from the stream when they are first needed."""

    def __init__(self, attempt: Attempt, services: Services) -> None:
        self._attempt = attempt
        self._services = services
        self._lock = threading.Lock()
        self._recorded: _Recorded | None = None
        self._used: set[str] = set()

    def key(self, name: str) -> str:
        """The key of a step: the same in every attempt of the job."""
        return f"{self._attempt.job.job_id}/{name}"

    def logged_bytes(self) -> int:
        """How many bytes of log lines earlier attempts recorded."""
        return self._history().logged_bytes

    def run(self, name: str, function: Callable[[], T], reporter: Reporter | None) -> T:
        """The recorded output of the step, or that of `function`, which is durable before this returns."""
        stored = self.recorded(name)
        if stored is None:
            stored = self._store(name, self._encode(name, function()), reporter)
        output: T = from_json(stored)
        return output

    async def run_async(self, name: str, function: Callable[[], Awaitable[T]], reporter: Reporter | None) -> T:
        """`run` for coroutines: the event loop goes on while the output is recorded."""
        stored = await asyncio.to_thread(self.recorded, name)
        if stored is None:
            encoded = self._encode(name, await function())
            stored = await asyncio.to_thread(self._store, name, encoded, reporter)
        output: T = from_json(stored)
        return output

    def _store(self, name: str, encoded: bytes, reporter: Reporter | None) -> bytes:
        """Record the output; inside a transaction of the attempt it is recorded with the completion."""
        self._attempt.origin.end_copy()
        transaction = self._attempt.transaction
        if not isinstance(transaction, HandlersTransaction) or not transaction.is_open:
            return self.record(name, encoded, reporter)
        attempt = self._attempt
        decided = jobs.record_step(attempt.job.state, attempt.lease, step=name, key=self.key(name))
        transaction.keep(Report(decided[0], encoded))
        return encoded

    def recorded(self, name: str) -> bytes | None:
        """The output of a step of an earlier attempt, or None: then it has to run. A name is used once an attempt."""
        check_name(name)
        self._refuse_secret(name.encode(), "the name of a step")
        history = self._history()
        with self._lock:
            if name in self._used:
                raise InvalidInput(
                    f"step {name!r} was used before in this attempt", field="step", rule="one name, one step",
                    hint="number the steps of a loop",
                )  # fmt: skip
            self._used.add(name)
        if self._attempt.lost:
            raise _lost(self._attempt)
        return history.outputs.get(name)

    def _history(self) -> _Recorded:
        with self._lock:
            if self._recorded is None:
                first = self._attempt.lease.attempt == 1
                self._recorded = _Recorded({}, 0) if first else self._read()
            return self._recorded

    def _read(self) -> _Recorded:
        job = self._attempt.job
        outputs: dict[str, bytes] = {}
        logged_bytes = 0
        for event in self._services.reader.stream(job.tenant, job.job_id, bodies=True):
            if isinstance(event.facts, JobStepRecorded) and event.body is not None:
                outputs[event.facts.step] = event.body
            elif isinstance(event.facts, JobLogged):
                logged_bytes += event.metadata.body_length or 0
        return _Recorded(outputs, logged_bytes)

    def _encode(self, name: str, output: object) -> bytes:
        try:
            encoded = to_json(output)
        except (PydanticSerializationError, ValueError) as error:
            raise InvalidInput(
                f"the output of step {name!r} cannot be recorded as JSON: {error}", field=f"step.{name}",
                rule="an output is JSON", hint="return plain values: text, numbers, lists, dictionaries",
            ) from error  # fmt: skip
        if len(encoded) > PAYLOAD_BYTES_MAX:
            raise PayloadTooLarge(
                f"the output of step {name!r} has {len(encoded)} bytes", field=f"step.{name}",
                rule=f"at most {PAYLOAD_BYTES_MAX} bytes", hint="store it elsewhere and return where",
            )  # fmt: skip
        self._refuse_secret(encoded, f"the output of step {name!r}")
        return encoded

    def _refuse_secret(self, recorded: bytes, what: str) -> None:
        secrets = self._attempt.secrets
        name = None if secrets is None else secrets.named_in(recorded)
        if name is not None:
            raise InvalidInput(
                f"{what} holds the secret {name!r}, and is recorded", field="step", rule="steps hold no secrets",
                hint="leave it out of what the step returns",
            )  # fmt: skip

    def record(self, name: str, encoded: bytes, reporter: Reporter | None) -> bytes:
        """Record the output, whatever it takes: its effect has happened. Gives up when the attempt is lost or over."""
        attempt = self._attempt
        if reporter is not None:
            reporter.settle()
        decided = jobs.record_step(attempt.job.state, attempt.lease, step=name, key=self.key(name))
        report = Report(decided[0], encoded)
        for pause_seconds in (*_PAUSES_SECONDS, *[_PAUSES_SECONDS[-1]] * 30):
            if attempt.lost or attempt.ended:
                raise _lost(attempt)
            metadata = self._services.metadata(attempt.job)
            try:
                outcome = self._services.writer.write([report_change(attempt.job, attempt.lease, (report,), metadata)])[
                    0
                ]
            except (LedgerBusy, LedgerUnavailable):
                threading.Event().wait(pause_seconds)
                continue
            if outcome.status is not WriteStatus.WRITTEN:
                attempt.lost = True
                raise _lost(attempt)
            return encoded
        raise LedgerUnavailable(f"step {name!r} ran but could not be recorded", field="step")


def _lost(attempt: Attempt) -> LeaseLost:
    return LeaseLost(
        f"attempt {attempt.lease.attempt} no longer belongs to this worker", field="lease", rule="held by this worker"
    )


def check_name(name: str) -> None:
    """`InvalidInput` for what cannot name a step."""
    if not is_text(name) or not name.strip() or len(name) > STEP_NAME_CHARACTERS:
        raise InvalidInput(
            f"{name!r} does not name a step", field="step", rule=f"1 to {STEP_NAME_CHARACTERS} characters"
        )

"""Attempts whose handlers run in child processes: the child's side of it.

Everything a handler calls works as in a thread; what has to be recorded is sent to the worker. The ending is worked out
here, so that no exception and no result that only this process can read ever has to travel.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, Protocol, cast
from uuid import UUID

from pydantic_core import from_json

from jobledger.domain.errors import InvalidInput, LedgerError
from jobledger.domain.job import AttemptError, Measured

from ..declared_job import DeclaredJob
from ..dispatch_item import Dispatch
from ..ports import AttemptTransactions, Clock, LedgerWriter, StreamReader
from ..telemetry import Telemetry
from .attempt import Attempt, Services
from .child_messages import Ended, FromChild, Logged, Order, Progressed, Used, ended
from .context import AttemptContext, refuse_secret
from .events import WorkerEvents
from .failures import clean, digest
from .outcomes import Ending, Failed, Report
from .processes import write_dispatches
from .reporting import LEVELS, LINE_CHARACTERS, LOG_LIMIT_BYTES, NOTE_CHARACTERS, Reporter, checked_fraction
from .running import Runner
from .steps import Steps, check_name


class Channel(Protocol):
    """The way to the worker. Both methods raise `InvalidInput` in a process that the handler forked."""

    def tell(self, message: FromChild) -> None:
        """Send; waits only while the worker has too much to read."""
        ...

    def ask(self, question: str, name: str = "", body: bytes | None = None) -> bytes | None:
        """Send a question and wait for its answer; raises the error that the worker answers with."""
        ...


class ChildRunner:
    """Runs attempts one after the other in the calling thread."""

    def __init__(
        self, jobs: Mapping[str, DeclaredJob], channel: Channel, clock: Clock, cpu_seconds: Callable[[], float],
        transactions: AttemptTransactions | None = None,
    ) -> None:  # fmt: skip
        """`cpu_seconds` are those of the process and of what it waited for."""
        self._jobs = jobs
        self._channel = channel
        self._clock = clock
        self._cpu_seconds = cpu_seconds
        self._transactions = transactions
        self._trace_parent = ""
        self._ending: tuple[Ending, Measured] | None = None

    def attempt(self, order: Order) -> Attempt:
        """The attempt that an order asks for."""
        return Attempt(order.job, self._jobs[order.job.state.job_type], order.worker)

    def run(self, attempt: Attempt, trace_parent: str) -> tuple[Ended, bytes | None]:
        """Run the handler; the message that tells of its ending, with its body."""
        services = Services(
            attempt.lease.worker, f"worker:{attempt.lease.worker}", self._clock, cast("LedgerWriter", _NO_LEDGER),
            cast("StreamReader", _NO_LEDGER), WorkerEvents(), self._no_dispatch, self._cpu_seconds,
            _WorkersVault(self._channel), self._transactions,
        )  # fmt: skip
        self._trace_parent = trace_parent
        Runner(services, _Untraced(), self._take, context=self._context).run(attempt)
        assert self._ending is not None
        ending, measured = self._ending
        message, body = _as_message(ending)
        measures = {"cpu_seconds": measured.usage.cpu_seconds, "lost": attempt.lost}
        return message.model_copy(update=measures), body

    def _take(self, attempt: Attempt, ending: Ending, measured: Measured) -> None:
        self._ending = ending, measured

    def _context(self, attempt: Attempt, services: Services, _: str) -> AttemptContext:
        return _ChildContext(attempt, services, self._trace_parent, self._channel)

    def _no_dispatch(self, children: Sequence[Dispatch]) -> NoReturn:
        raise LedgerError("a child process dispatches through its worker")


class _ChildContext(AttemptContext):
    """The `JobContext` in a child process."""

    __slots__ = ("_channel", "_logged_bytes")

    def __init__(self, attempt: Attempt, services: Services, trace_parent: str, channel: Channel) -> None:
        super().__init__(attempt, services, trace_parent)
        self._channel = channel
        self._logged_bytes = 0

    def progress(self, fraction: float, note: str = "") -> None:
        """See `JobContext`; how often it is recorded, the worker decides."""
        self._require_original()
        self._channel.tell(Progressed(fraction=checked_fraction(fraction), note=clean(str(note), NOTE_CHARACTERS)))

    def log(self, message: str, *, level: str = "info", **fields: object) -> None:
        """See `JobContext`; each line leaves the process at once, so that a crash loses none."""
        self._require_original()
        if level not in LEVELS:
            raise InvalidInput(f"{level!r} is not a level", field="level", rule=f"one of {', '.join(LEVELS)}")
        extra = "".join(f" {name}={value!r}" for name, value in fields.items())
        text = clean(f"{message}{extra}", LINE_CHARACTERS)
        self._logged_bytes += len(text)
        if self._logged_bytes <= 2 * LOG_LIMIT_BYTES:  # where exactly the log is full, the worker decides
            self._channel.tell(Logged(message=text, level=level))

    def usage(self, unit: str = "", amount: float = 0.0, /, **units: float) -> None:
        """See `JobContext`."""
        self._require_original()
        super().usage(unit, amount, **units)
        self._channel.tell(Used(units=dict(self._attempt.units or {})))

    def dispatch(self, *children: Dispatch) -> Sequence[UUID]:
        """See `JobContext`."""
        self._require_original()
        for child in children:
            refuse_secret(self._attempt.secrets, child)
        try:
            body = write_dispatches(children)
        except ValueError as error:
            raise InvalidInput(f"a payload is not JSON: {error}", field="payload", rule="is JSON") from error
        return [UUID(job_id) for job_id in from_json(self._channel.ask("dispatch", body=body) or b"[]")]

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """See `JobContext`; on a connection of this process."""
        with super().transaction() as connection:
            self._channel.ask("transaction", "opened")
            _ChildReporter(self._attempt, self._services, self._channel)
            try:
                yield connection
            except BaseException:
                if not self._attempt.origin.is_copy:
                    self._channel.ask("transaction", "closed")
                raise

    def _recorded_steps(self) -> Steps:
        self._require_original()
        if self._steps is None:
            self._steps = _ChildSteps(self._attempt, self._services, self._channel)
        return self._steps


class _ChildReporter(Reporter):
    """What the worker still has to record of the attempt: a transaction takes it along with the completion."""

    def __init__(self, attempt: Attempt, services: Services, channel: Channel) -> None:
        super().__init__(attempt, services)
        self._channel = channel

    def settle(self) -> None:
        """The worker sees to that."""

    def take_all(self) -> tuple[Report, ...]:
        """What waits in the worker."""
        taken: tuple[Report, ...] = pickle.loads(self._channel.ask("take_reports") or b"")
        return taken

    def put_back(self, reports: tuple[Report, ...]) -> None:
        """The worker knows what was taken."""
        self._channel.ask("put_back")


class _ChildSteps(Steps):
    """Steps that the worker knows and records."""

    def __init__(self, attempt: Attempt, services: Services, channel: Channel) -> None:
        super().__init__(attempt, services)
        self._channel = channel

    def recorded(self, name: str) -> bytes | None:
        """The output of a step of an earlier attempt, by the worker's word."""
        check_name(name)
        return self._channel.ask("recorded_step", name)

    def record(self, name: str, encoded: bytes, reporter: Reporter | None) -> bytes:
        """Have the worker record the output."""
        self._channel.ask("record_step", name, encoded)
        return encoded


class _WorkersVault:
    """Secrets, by the worker's word: it has to know which ones the handler was given, to keep them out of logs."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def get(self, name: str, tenant: str) -> str:
        """See `SecretVault`; of the job's tenant only."""
        return (self._channel.ask("secret", name) or b"").decode("utf-8", "surrogatepass")


class _Untraced(Telemetry):
    """The span around an attempt is the worker's; its traceparent came with the order."""

    @property
    def enabled(self) -> bool:
        """No."""
        return False


class _NoLedger:
    """Stands where the worker has the ledger."""

    def __getattr__(self, name: str) -> NoReturn:
        raise LedgerError(f"a child process has no ledger of its own ({name})")


_NO_LEDGER = _NoLedger()


def _as_message(ending: Ending) -> tuple[Ended, bytes | None]:
    try:
        message, body = ended(ending)
        message.model_dump_json()
    except Exception as error:  # noqa: BLE001 - names of classes, for instance, may hold what no JSON can
        told = AttemptError("EndingUnreadable", clean(repr(error), 2_000), digest("ending-unreadable"))
        return ended(Failed(told))
    return message, body

"""What belongs to a process as a whole, and not to a handler: a child brings it back after each job, so that no job
finds what another tenant's left. An alarm, for one, would end an innocent job.
"""

from __future__ import annotations

import locale
import os
import signal
import socket
import threading
from contextlib import suppress
from pathlib import Path

from ..settings import environment

_HANDLED = (
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE, signal.SIGALRM,
    signal.SIGTERM, signal.SIGCHLD, signal.SIGVTALRM, signal.SIGPROF,
)  # fmt: skip
_ENDING = (signal.SIGTERM, signal.SIGINT)
_before_fork = threading.local()
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)


def ignore(_number: int, _frame: object) -> None:
    """A handler, and not SIG_IGN, which what a handler starts would inherit."""


def let_copies_be_ended() -> None:
    """What this process forks from now on (`multiprocessing` does) ends by SIGTERM and SIGINT as any program."""
    # blocked meanwhile: one that comes before the copy has its own handlers waits, and is not lost
    os.register_at_fork(before=_block, after_in_parent=_unblock, after_in_child=_ignore_no_more)


def _block() -> None:
    _before_fork.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _before_fork.mask)


def _ignore_no_more() -> None:
    for number, usual in ((signal.SIGTERM, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
        if signal.getsignal(number) is ignore:
            signal.signal(number, usual)
    _unblock()


class ProcessState:
    """The state of this process as it is now; for its main thread."""

    def __init__(self) -> None:
        self._folder = _folder()
        self._mask = os.umask(0o077)
        os.umask(self._mask)
        self._environment = dict(environment())
        self._handlers = {number: signal.getsignal(number) for number in _HANDLED}
        self._blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self._locale = locale.setlocale(locale.LC_ALL)
        self._socket_seconds = socket.getdefaulttimeout()

    def bring_back(self) -> None:
        """Undo what was changed since; what the system refuses stays as it is."""
        for timer in _TIMERS:
            if any(signal.getitimer(timer)):
                signal.setitimer(timer, 0)
        for number, handler in self._handlers.items():
            if signal.getsignal(number) is not handler and handler is not None:
                signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._blocked)
        os.umask(self._mask)
        socket.setdefaulttimeout(self._socket_seconds)
        with suppress(locale.Error):
            if locale.setlocale(locale.LC_ALL) != self._locale:
                locale.setlocale(locale.LC_ALL, self._locale)
        if dict(environment()) != self._environment:
            self._bring_environment_back()
        self._bring_folder_back()

    def _bring_environment_back(self) -> None:
        found = environment()
        for name in found.keys() - self._environment.keys():
            del found[name]
        found.update(self._environment)

    def _bring_folder_back(self) -> None:
        if self._folder is not None and _folder() != self._folder:
            with suppress(OSError):
                os.chdir(self._folder)


def _folder() -> str | None:
    """The working directory; None where it was removed."""
    try:
        return str(Path.cwd())
    except OSError:
        return None

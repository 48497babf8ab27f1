"""The processes that help with a rebuild live as long as whoever started them, and no longer than they must."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

_BEGIN = "from jobledger.infrastructure.cli.rebuild_progress import end_with_parent; end_with_parent()"
_DONE = f"{_BEGIN}; print('done')"
_WAITING = f"import threading; {_BEGIN}; threading.Event().wait()"


@pytest.fixture
def helper(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    """A helper whose stdin is a pipe that this process holds."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", request.param], stdin=pipe, stdout=pipe, stderr=pipe) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("helper", [_DONE], indirect=True)
def test_a_helper_that_is_done_first_ends_as_any_process(helper: subprocess.Popen[bytes]) -> None:
    """The thread that watches for the end of whoever started it is in nobody's way."""
    assert helper.stdout is not None and helper.stderr is not None
    assert (helper.stdout.read(), helper.stderr.read()) == (b"done\n", b"")
    assert helper.wait() == 0


@pytest.mark.parametrize("helper", [_WAITING], indirect=True)
def test_a_helper_ends_when_whoever_started_it_has_ended(helper: subprocess.Popen[bytes]) -> None:
    """The pipe is closed, whatever ended its other side."""
    assert helper.stdin is not None
    helper.stdin.close()
    assert helper.wait() == 0

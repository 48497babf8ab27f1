"""A test whose fixtures never let go ends its process, and says where each thread stood.

pytest-timeout comes once: after it there is nothing that ends a teardown that hangs, nor the run.
"""

from __future__ import annotations

import faulthandler
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer

import pytest

TEARDOWN_SECONDS = 180.0
"""As long as a test may take (see pyproject.toml)."""


@contextmanager
def no_hanging_teardown(item: pytest.Item, seconds: float = TEARDOWN_SECONDS) -> Iterator[None]:
    """End this process where the block takes longer: side by side with others, that fails the test that it ran."""
    timer = Timer(seconds, _end, (item, seconds))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # the next test finds no thread that is about to end


def _end(item: pytest.Item, seconds: float) -> None:
    item.config.pluginmanager.getplugin("capturemanager").suspend_global_capture(in_=True)
    sys.stderr.write(f"\n{item.nodeid}: what it used was not let go of within {seconds:.0f} s\n")
    faulthandler.dump_traceback(file=sys.stderr)
    sys.stderr.flush()
    os._exit(1)

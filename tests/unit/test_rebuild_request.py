"""What the processes of one rebuild take of the machine."""

from __future__ import annotations

import pytest

from jobledger.infrastructure.rebuilding import Request
from jobledger.projections.shadow import Purpose
from jobledger.projections.tenant_jobs import TENANT_JOBS


@pytest.mark.parametrize("processes", [1, 2, 16])
def test_without_a_throttle_no_process_rests_however_many_there_are(processes: int) -> None:
    """All there is, is not divided: each process works all the time."""
    assert not Request(TENANT_JOBS, Purpose.REBUILD).throttle_of_each(processes).is_on


def test_a_throttle_is_shared_among_the_processes() -> None:
    """Together they take the share that was asked for."""
    throttle = Request(TENANT_JOBS, Purpose.REBUILD, share=0.5).throttle_of_each(4)
    assert throttle.is_on and throttle.share == 0.125

"""What users need to test their jobs; `jobledger.testing` is its public name."""

from .clock import FrozenClock, SeededIdentifiers
from .ledger import InMemoryLedger
from .seen_job import SeenJob, SeenJobs, seen_job

__all__ = ["FrozenClock", "InMemoryLedger", "SeededIdentifiers", "SeenJob", "SeenJobs", "seen_job"]

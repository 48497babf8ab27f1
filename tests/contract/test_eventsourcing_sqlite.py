"""The eventsourcing library's published contract tests, over our SQLite recorders and their factory."""

from __future__ import annotations

import tempfile
from pathlib import Path
from unittest import TestCase, skip
from uuid import UUID

import pytest
from eventsourcing.persistence import EventStore, InfrastructureFactoryError, IntegrityError, StoredEvent, Tracking
from eventsourcing.tests import persistence as library
from eventsourcing.utils import Environment

from jobledger.domain.errors import CorruptEvent
from jobledger.domain.event import Event
from jobledger.domain.identifiers import stream_id
from jobledger.domain.tenant import TenantCreated
from jobledger.infrastructure.sqlite.database import Database
from jobledger.infrastructure.sqlite.factory import Factory
from jobledger.infrastructure.sqlite.migrations import migrate
from jobledger.infrastructure.sqlite.recorders import (
    SqliteAggregateRecorder,
    SqliteApplicationRecorder,
    SqliteProcessRecorder,
    SqliteTrackingRecorder,
)
from jobledger.infrastructure.stored_event import LedgerStoredEvent

from ..support.library_contract import (
    STATE_IS_PLAIN,
    AggregatesInOurForm,
    ApplicationsInOurForm,
    OurIds,
    ProcessesInOurForm,
)
from .support import job_id, metadata


class InAFile(TestCase):
    """Mixed into a test case: an empty ledger in a file of its own."""

    def setUp(self) -> None:
        """Make the ledger."""
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = Path(folder.name) / "ledger.db"
        migrate(path)
        self.database = Database(path)
        self.addCleanup(self.database.close)


class TestAggregateRecorder(OurIds, InAFile, library.AggregateRecorderTestCase):
    """Streams are recorded and selected."""

    def create_recorder(self) -> AggregatesInOurForm:
        """Over the test's own file."""
        return AggregatesInOurForm(SqliteAggregateRecorder(self.database))


class TestApplicationRecorder(OurIds, InAFile, library.ApplicationRecorderTestCase[ApplicationsInOurForm]):
    """Events have a global order that can be read and subscribed to, whoever writes at the same time."""

    def create_recorder(self) -> ApplicationsInOurForm:
        """Over the test's own file."""
        return ApplicationsInOurForm(SqliteApplicationRecorder(self.database))

    def test_insert_subscribe(self) -> None:
        """Subscriptions, which the library's own SQLite recorder does not have."""
        self.optional_test_insert_subscribe()


class TestTrackingRecorder(InAFile, library.TrackingRecorderTestCase):
    """Tracking only moves forward."""

    def create_recorder(self) -> SqliteTrackingRecorder:
        """Over the test's own file."""
        return SqliteTrackingRecorder(self.database, "reader")

    def test_two_consumers_do_not_collide(self) -> None:
        """Each consumer of one file has its own place in the same upstream application."""
        first, second = self.create_recorder(), SqliteTrackingRecorder(self.database, "other")
        first.insert_tracking(Tracking("upstream", 5))
        assert second.max_tracking_id("upstream") is None


class TestProcessRecorder(OurIds, InAFile, library.ProcessRecorderTestCase):
    """Events and tracking are recorded together."""

    def create_recorder(self) -> ProcessesInOurForm:
        """Over the test's own file."""
        return ProcessesInOurForm(SqliteProcessRecorder(self.database, "process"))


class TestNonInterleaving(OurIds, InAFile, library.NonInterleavingNotificationIDsBaseCase):
    """Events of one transaction stand together."""

    insert_num = 100

    def create_recorder(self) -> ApplicationsInOurForm:
        """Over the test's own file."""
        return ApplicationsInOurForm(SqliteApplicationRecorder(self.database))


class MyTrackingRecorder(SqliteTrackingRecorder):
    """A user's own."""


class TestFactory(library.InfrastructureFactoryTestCase[Factory]):
    """The factory is found by its module's name and makes our recorders."""

    def setUp(self) -> None:
        """An environment as a user sets it."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.env = Environment("MyApplication")
        self.env["PERSISTENCE_MODULE"] = "jobledger.infrastructure.sqlite"
        self.env["SQLITE_DBNAME"] = f"{folder.name}/ledger.db"
        super().setUp()

    def expected_factory_class(self) -> type[Factory]:
        """Ours."""
        return Factory

    def expected_aggregate_recorder_class(self) -> type[SqliteAggregateRecorder]:
        """Ours."""
        return SqliteAggregateRecorder

    def expected_application_recorder_class(self) -> type[SqliteApplicationRecorder]:
        """Ours."""
        return SqliteApplicationRecorder

    def expected_tracking_recorder_class(self) -> type[SqliteTrackingRecorder]:
        """Ours."""
        return SqliteTrackingRecorder

    def tracking_recorder_subclass(self) -> type[MyTrackingRecorder]:
        """A user's own."""
        return MyTrackingRecorder

    def expected_process_recorder_class(self) -> type[SqliteProcessRecorder]:
        """Ours."""
        return SqliteProcessRecorder

    @skip(STATE_IS_PLAIN)
    def test_mapper_with_compressor(self) -> None:
        """Does not apply."""

    @skip(STATE_IS_PLAIN)
    def test_mapper_with_cipher(self) -> None:
        """Does not apply."""

    @skip(STATE_IS_PLAIN)
    def test_mapper_with_cipher_and_compressor(self) -> None:
        """Does not apply."""

    @skip(STATE_IS_PLAIN)
    def test_mapper_with_wrong_cipher_key(self) -> None:
        """Does not apply."""

    def test_the_event_store_keeps_our_events(self) -> None:
        """An event with tenant, metadata and body comes back through the library's event store as it was."""
        store: EventStore[UUID] = self.factory.event_store()
        event = Event(stream_id("acme", "tenant", "acme"), 1, "acme", metadata(), TenantCreated(name="acme"), b"body")
        (recording,) = store.put([event])
        (found,) = store.get(event.originator_id)
        assert recording.notification.id == 1
        assert isinstance(found, Event)
        assert found[:3] + found[4:] == event[:3] + event[4:]
        assert found.metadata.body_length == 4

    def test_there_are_no_snapshots(self) -> None:
        """Asking for a recorder of snapshots says that there are none."""
        with pytest.raises(InfrastructureFactoryError, match="snapshots"):
            self.factory.aggregate_recorder(purpose="snapshots")


class TestTenants(InAFile):
    """What the library knows nothing of: every event has a tenant, and a stream has one."""

    def test_an_event_without_a_tenant_is_refused(self) -> None:
        """The library's plain stored event says no tenant."""
        with pytest.raises(CorruptEvent, match="tenant"):
            SqliteAggregateRecorder(self.database).insert_events([StoredEvent(job_id(), 1, "t", b"{}")])

    def test_an_event_of_another_tenant_is_refused(self) -> None:
        """An event's tenant is its stream's."""
        recorder = SqliteAggregateRecorder(self.database)
        stream = job_id()
        recorder.insert_events([LedgerStoredEvent(stream, 1, "t", b"{}\n{}", "acme")])
        with pytest.raises(IntegrityError, match="tenant"):
            recorder.insert_events([LedgerStoredEvent(stream, 2, "t", b"{}\n{}", "other")])

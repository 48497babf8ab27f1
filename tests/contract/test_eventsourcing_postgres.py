"""The eventsourcing library's published contract tests, over our PostgreSQL recorders and their factory."""

from __future__ import annotations

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
from jobledger.infrastructure.postgres.connections import Connections
from jobledger.infrastructure.postgres.factory import Factory
from jobledger.infrastructure.postgres.recorders import (
    PostgresAggregateRecorder,
    PostgresApplicationRecorder,
    PostgresProcessRecorder,
    PostgresTrackingRecorder,
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


class InADatabase(TestCase):
    """Mixed into a test case: an empty ledger in a database of its own."""

    dsn: str

    @pytest.fixture(autouse=True)
    def _database(self, postgres_dsn: str) -> None:
        self.dsn = postgres_dsn

    def setUp(self) -> None:
        """Connect to it."""
        super().setUp()
        self.connections = Connections(self.dsn)
        self.addCleanup(self.connections.close)


class TestAggregateRecorder(OurIds, InADatabase, library.AggregateRecorderTestCase):
    """Streams are recorded and selected."""

    def create_recorder(self) -> AggregatesInOurForm:
        """Over the test's own database."""
        return AggregatesInOurForm(PostgresAggregateRecorder(self.connections))


class TestApplicationRecorder(OurIds, InADatabase, library.ApplicationRecorderTestCase[ApplicationsInOurForm]):
    """Events have a global order that can be read and subscribed to, whoever writes at the same time."""

    def create_recorder(self) -> ApplicationsInOurForm:
        """Over the test's own database."""
        return ApplicationsInOurForm(PostgresApplicationRecorder(self.connections))

    def test_insert_subscribe(self) -> None:
        """Subscriptions, which poll: the library's can sleep past an event."""
        self.optional_test_insert_subscribe()


class TestTrackingRecorder(InADatabase, library.TrackingRecorderTestCase):
    """Tracking only moves forward."""

    def create_recorder(self) -> PostgresTrackingRecorder:
        """Over the test's own database."""
        return PostgresTrackingRecorder(self.connections, "reader")

    def test_two_consumers_do_not_collide(self) -> None:
        """Each consumer of one database has its own place in the same upstream application."""
        first, second = self.create_recorder(), PostgresTrackingRecorder(self.connections, "other")
        first.insert_tracking(Tracking("upstream", 5))
        assert second.max_tracking_id("upstream") is None


class TestProcessRecorder(OurIds, InADatabase, library.ProcessRecorderTestCase):
    """Events and tracking are recorded together."""

    def create_recorder(self) -> ProcessesInOurForm:
        """Over the test's own database."""
        return ProcessesInOurForm(PostgresProcessRecorder(self.connections, "process"))


class TestNonInterleaving(OurIds, InADatabase, library.NonInterleavingNotificationIDsBaseCase):
    """Events of one transaction stand together."""

    insert_num = 100

    def create_recorder(self) -> ApplicationsInOurForm:
        """Over the test's own database."""
        return ApplicationsInOurForm(PostgresApplicationRecorder(self.connections))


class MyTrackingRecorder(PostgresTrackingRecorder):
    """A user's own."""


class TestFactory(InADatabase, library.InfrastructureFactoryTestCase[Factory]):
    """The factory is found by its module's name and makes our recorders."""

    def setUp(self) -> None:
        """An environment as a user sets it."""
        self.env = Environment("MyApplication")
        self.env["PERSISTENCE_MODULE"] = "jobledger.infrastructure.postgres"
        self.env["POSTGRES_DBNAME"] = self.dsn
        super().setUp()

    def expected_factory_class(self) -> type[Factory]:
        """Ours."""
        return Factory

    def expected_aggregate_recorder_class(self) -> type[PostgresAggregateRecorder]:
        """Ours."""
        return PostgresAggregateRecorder

    def expected_application_recorder_class(self) -> type[PostgresApplicationRecorder]:
        """Ours."""
        return PostgresApplicationRecorder

    def expected_tracking_recorder_class(self) -> type[PostgresTrackingRecorder]:
        """Ours."""
        return PostgresTrackingRecorder

    def tracking_recorder_subclass(self) -> type[MyTrackingRecorder]:
        """A user's own."""
        return MyTrackingRecorder

    def expected_process_recorder_class(self) -> type[PostgresProcessRecorder]:
        """Ours."""
        return PostgresProcessRecorder

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
        assert recording.notification.id > 0
        assert isinstance(found, Event)
        assert found[:3] + found[4:] == event[:3] + event[4:]
        assert found.metadata.body_length == 4

    def test_there_are_no_snapshots(self) -> None:
        """Asking for a recorder of snapshots says that there are none."""
        with pytest.raises(InfrastructureFactoryError, match="snapshots"):
            self.factory.aggregate_recorder(purpose="snapshots")


class TestTenants(InADatabase):
    """What the library knows nothing of: every event has a tenant, and a stream has one."""

    def test_an_event_without_a_tenant_is_refused(self) -> None:
        """The library's plain stored event says no tenant."""
        with pytest.raises(CorruptEvent, match="tenant"):
            PostgresAggregateRecorder(self.connections).insert_events([StoredEvent(job_id(), 1, "t", b"{}")])

    def test_an_event_of_another_tenant_is_refused(self) -> None:
        """An event's tenant is its stream's."""
        recorder = PostgresAggregateRecorder(self.connections)
        stream = job_id()
        recorder.insert_events([LedgerStoredEvent(stream, 1, "t", b"{}\n{}", "acme")])
        with pytest.raises(IntegrityError, match="tenant"):
            recorder.insert_events([LedgerStoredEvent(stream, 2, "t", b"{}\n{}", "other")])

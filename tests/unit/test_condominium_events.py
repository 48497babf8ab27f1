"""The example's input file: what is in it, and that only what should be bad is bad."""

import json
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.exceptions import CloudEventValidationError
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from pydantic import ValidationError

from examples.condominium import catalog, library
from examples.condominium.events import as_text, generate, main
from examples.condominium.flaws import COUNTS, INVALID, Kind, Line
from examples.condominium.routes import ROUTES, tenants_named

LINES = generate(seed=7)
TENANTS = {tenant.slug for tenant in catalog.TENANTS}


def events(*kinds: Kind) -> list[dict[str, Any]]:
    return [json.loads(line.text) for line in LINES if line.kind in kinds]


def read_strictly(text: str) -> CloudEvent:
    """Read a CloudEvent; the library alone would invent an id where there is none."""
    attributes = json.loads(text)
    if not isinstance(attributes, dict) or "id" not in attributes:
        raise ValueError("no object, or one without an id")
    event = JSONFormat().read(CloudEvent, text)
    assert isinstance(event, CloudEvent)
    return event


def test_there_are_at_least_300_good_events_of_every_type_and_tenant() -> None:
    """At least 300 events are good; they are of every type that has a reaction, and of every tenant."""
    good = events(Kind.GOOD)
    assert len(good) >= 300
    assert {event["type"] for event in good} == set(ROUTES)
    assert {event["tenant"] for event in good} == TENANTS
    assert {event["persona"] for event in good} == set(catalog.PERSONAS)


def test_each_flaw_is_there_as_often_as_announced() -> None:
    """The file holds each kind of flaw exactly as often as the table says."""
    assert Counter(line.kind for line in LINES if line.kind is not Kind.GOOD) == COUNTS


def test_every_other_line_is_a_cloudevent() -> None:
    """What is not deliberately invalid parses as CloudEvents 1.0 and has an aware time."""
    for line in LINES:
        if line.kind not in INVALID:
            event = read_strictly(line.text)
            time = event.get_time()
            assert time is not None
            assert time.tzinfo is not None
            assert event.get_extension("tenant") in TENANTS | {catalog.UNKNOWN_TENANT}


@pytest.mark.parametrize("line", [line for line in LINES if line.kind in INVALID], ids=lambda line: line.kind)
def test_every_invalid_line_is_refused(line: Line) -> None:
    """What is deliberately invalid does not parse."""
    with pytest.raises((ValueError, CloudEventValidationError)):
        read_strictly(line.text)


def test_good_data_fits_its_payload() -> None:
    """The data of each good event is a valid payload of the job that it leads to."""
    for event in events(Kind.GOOD):
        route = ROUTES[event["type"]]
        assert isinstance(route.to_payload(event["data"]), route.payload)


def test_misfit_data_names_the_field() -> None:
    """The data of a misfit is refused, and the error says which field."""
    for event in events(Kind.PAYLOAD_MISFIT):
        with pytest.raises(ValidationError) as caught:
            ROUTES[event["type"]].to_payload(event["data"])
        assert caught.value.errors()[0]["loc"]


def test_a_good_event_names_one_tenant_and_a_crossing_one_two() -> None:
    """Source, tenant attribute and data of a good event agree; those of a crossing one do not."""
    assert all(tenants_named(event) == {event["tenant"]} for event in events(Kind.GOOD))
    crossing = events(Kind.CROSS_TENANT_SOURCE, Kind.CROSS_TENANT_DATA)
    assert all(len(tenants_named(event)) == 2 for event in crossing)
    assert all(tenants_named(event) == {catalog.UNKNOWN_TENANT} for event in events(Kind.UNKNOWN_TENANT))


def test_source_and_id_are_unique_but_for_duplicates() -> None:
    """Only deliberate duplicates share source and id with another event, and then with one that is the same."""
    identities = Counter((event["source"], event["id"]) for event in events(Kind.GOOD))
    assert set(identities.values()) == {1}
    good = events(Kind.GOOD)
    assert all(event in good for event in events(Kind.DUPLICATE_EVENT))


def test_a_business_key_comes_again_in_another_event() -> None:
    """A duplicate key has the data of a good event under another id; a conflicting one has other data."""
    good = {event["data"].get("payment_id"): event for event in events(Kind.GOOD)}
    for event in events(Kind.DUPLICATE_KEY):
        original = good[event["data"]["payment_id"]]
        assert (event["id"] != original["id"], event["data"]) == (True, original["data"])
    for event in events(Kind.CONFLICTING_KEY):
        assert event["data"]["amount_cents"] != good[event["data"]["payment_id"]]["data"]["amount_cents"]


def test_the_story_is_told_in_order() -> None:
    """Tenants are created before anything else happens to them; the farewell is the last good event."""
    good = events(Kind.GOOD)
    assert [event["type"] for event in good[: len(TENANTS)]] == ["com.condominium.tenant.created"] * len(TENANTS)
    assert good[-1]["type"] == "com.condominium.subscription.canceled"
    times = [datetime.fromisoformat(event["time"]) for event in good]
    assert times == sorted(times)


def test_the_seed_decides_everything() -> None:
    """The same seed gives the same bytes, another one does not."""
    assert as_text(generate(seed=7)) == as_text(LINES)
    assert as_text(generate(seed=8)) != as_text(LINES)


def test_all_texts_are_uploaded_and_make_at_least_two_megabytes() -> None:
    """Each text of the library is uploaded once; together they are more than 2 MB."""
    uploaded = [event["data"]["text"] for event in events(Kind.GOOD) if event["type"].endswith("document.uploaded")]
    assert sorted(uploaded) == sorted(text.name for text in library.texts())
    assert sum(len(library.read(name).encode()) for name in uploaded) > 2_000_000


def test_the_command_line_writes_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--out` writes the lines and one sentence says what they are."""
    out = tmp_path / "made" / "events.jsonl"
    assert main(["--seed", "7", "--out", str(out)]) == 0
    assert out.read_text(encoding="utf-8") == as_text(LINES)
    assert f"{len(LINES)} lines" in capsys.readouterr().out

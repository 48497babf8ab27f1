"""Files of exports: whole or not there, each with a manifest that says what is in it.

A file is written under another name beside it, made durable, recorded in the ledger, and only then given its name.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import BinaryIO, cast, get_args

from jobledger.application.audit_messages import Export
from jobledger.application.message import Actor
from jobledger.domain.audit import ExportFormat
from jobledger.domain.errors import InvalidInput
from jobledger.domain.event import event_id

from .audit_formats import count_events, encoder, header_of, moment_text
from .canonical_json import canonical
from .harmless import escaped_json, harmless

Manifest = dict[str, object]

MANIFEST_VERSION = 1
_CHUNK_BYTES = 1 << 20


@dataclass(slots=True)
class Written:
    """What was written of an export so far."""

    by_type: Counter[str] = field(default_factory=Counter)
    first_position: int | None = None
    last_position: int | None = None
    size_bytes: int = 0
    sha256: str = ""

    @property
    def events(self) -> int:
        """How many."""
        return self.by_type.total()


def write_events(
    export: Export, stream: BinaryIO, position_text: Callable[[int], str], *, to_terminal: bool = False
) -> Written:
    """Write an export to a stream, event by event, and flush it.

    To a terminal it is written so that nothing of it speaks to that. Hash and size are those of the bytes that a file
    would have: who reads a screen compares no hash.
    """
    shown = _harmless_form(export.format) if to_terminal else None
    encode = encoder(export.format, position_text, bodies=export.bodies)
    digest, written = hashlib.sha256(), Written()

    def put(content: bytes) -> None:
        stream.write(content if shown is None else shown(content.decode()).encode())
        digest.update(content)
        written.size_bytes += len(content)

    put(header_of(export.format, bodies=export.bodies))
    for event in export.events:
        put(encode(event))
        written.by_type[event.topic] += 1
        written.first_position = written.first_position or event.position
        written.last_position = event.position
    stream.flush()
    written.sha256 = digest.hexdigest()
    return written


def _harmless_form(form: ExportFormat) -> Callable[[str], str]:
    return harmless if form == "csv" else escaped_json


def manifest_of(
    export: Export, written: Written, position_text: Callable[[int], str], *, actor: Actor, file: str | None
) -> Manifest:
    """What is in an export, for whoever gets the file. Positions are `incarnation.position`."""
    query = export.query
    return {
        "manifest_version": MANIFEST_VERSION, "file": file, "format": export.format, "tenant": export.tenant,
        "query": {
            "from": query.recorded_from and moment_text(query.recorded_from),
            "to": query.recorded_to and moment_text(query.recorded_to), "types": list(query.types),
            "actor": query.actor, "bodies": export.bodies,
        },
        "events": written.events, "events_by_type": dict(sorted(written.by_type.items())),
        "first_position": _optional(written.first_position, position_text),
        "last_position": _optional(written.last_position, position_text),
        "sha256": written.sha256, "size_bytes": written.size_bytes, "horizon": export.horizon,
        "horizon_reached": export.horizon_reached, "made_at": moment_text(export.begun_at), "made_by": actor.id,
        "authenticated": actor.authenticated, "made_with": f"jobledger {installed_version('jobledger')}",
        "recorded_as": event_id(export.export_id, 1),
    }  # fmt: skip


def manifest_text(manifest: Manifest) -> str:
    """As it is stored: for people, too."""
    return json.dumps(manifest, ensure_ascii=False, indent=2) + "\n"


def manifest_line(manifest: Manifest) -> str:
    """On one line, sorted; nothing of it speaks to a terminal."""
    return escaped_json(canonical(manifest)) + "\n"


def manifest_path(file: Path) -> Path:
    """Where the manifest of a file stands."""
    return file.with_name(f"{file.name}.manifest.json")


@contextmanager
def whole_file(path: Path) -> Iterator[tuple[BinaryIO, Callable[[], None]]]:
    """A stream, and what gives it its name `path` once it is whole and durable. Without that, or after an error, there
    is no such file. What a killed process leaves is called `<name>.<random>.partial`, and is never looked at."""
    directory = path.parent
    try:
        number, partial = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".partial", dir=directory)
    except OSError as error:
        raise not_written(path, error) from error
    try:
        with os.fdopen(number, "wb") as stream:

            def publish() -> None:
                stream.flush()
                os.fsync(stream.fileno())
                _give_name(Path(partial), path)
                _make_durable(directory)

            yield stream, publish
    except OSError as error:
        raise not_written(path, error) from error
    finally:
        with suppress(FileNotFoundError):
            Path(partial).unlink()


def require_new(path: Path) -> None:
    """Raise `InvalidInput` where a file, or its manifest, is there already: an export replaces none."""
    for there in (path, manifest_path(path)):
        if os.path.lexists(there):
            raise _there_already(there)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a file is, beside what its manifest says of it. `troubles` is empty where they agree."""

    manifest: Manifest
    sha256: str
    events: int
    troubles: tuple[str, ...]


def verify(file: Path, manifest: Path) -> Verdict:
    """Compare a file with its manifest. `InvalidInput` where one of them cannot be read."""
    sha256, size_bytes = _digest(file)
    said = read_manifest(manifest)
    events = _count(cast("ExportFormat", said["format"]), file)
    found = {"sha256": sha256, "size_bytes": size_bytes, "events": events}
    troubles = tuple(
        f"{name}: the file has {value}, the manifest says {said.get(name)}"
        for name, value in found.items()
        if said.get(name) != value
    )
    return Verdict(said, sha256, events, troubles)


def read_manifest(path: Path) -> Manifest:
    """A manifest of ours. `InvalidInput` for anything else."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _not_read(path, error, field="--manifest") from error
    except ValueError as error:
        raise InvalidInput(f"{path} is no JSON: {error}", field="--manifest", rule="is a manifest") from error
    if not isinstance(said, dict) or said.get("manifest_version") != MANIFEST_VERSION:
        raise InvalidInput(f"{path} is no manifest of version {MANIFEST_VERSION}", field="--manifest")
    if said.get("format") not in get_args(ExportFormat):
        raise InvalidInput(f"{path} names the format {said.get('format')!r}", field="format", rule="is one of ours")
    return said


def _digest(file: Path) -> tuple[str, int]:
    digest, size_bytes = hashlib.sha256(), 0
    try:
        with file.open("rb") as stream:
            while content := stream.read(_CHUNK_BYTES):
                digest.update(content)
                size_bytes += len(content)
    except OSError as error:
        raise _not_read(file, error) from error
    return digest.hexdigest(), size_bytes


def _count(form: ExportFormat, file: Path) -> int:
    with file.open(encoding="utf-8", errors="replace", newline="" if form == "csv" else "\n") as lines:
        return count_events(form, lines)


def _optional(position: int | None, text: Callable[[int], str]) -> str | None:
    return None if position is None else text(position)


def _give_name(partial: Path, path: Path) -> None:
    """Never in the place of a file that came meanwhile, where the file system has hard links."""
    try:
        path.hardlink_to(partial)
    except FileExistsError as error:
        raise _there_already(path) from error
    except OSError:
        partial.rename(path)


def _there_already(path: Path) -> InvalidInput:
    return InvalidInput(
        f"{path} is there already", field="--output", rule="names a new file",
        hint="choose another name, or move it away",
    )  # fmt: skip


def _make_durable(directory: Path) -> None:
    number = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def not_written(path: Path, error: OSError) -> InvalidInput:
    """What is said where an output cannot be written, or not to its end."""
    return InvalidInput(
        f"{path} was not written: {error.strerror or error}", field="--output", rule="can be written",
        hint="nothing is left behind; try again with another place",
    )  # fmt: skip


def _not_read(path: Path, error: OSError, field: str = "FILE") -> InvalidInput:
    return InvalidInput(f"{path} cannot be read: {error.strerror or error}", field=field, rule="can be read")

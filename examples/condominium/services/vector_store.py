"""The embeddings of one tenant: a small SQLite file, searched by brute force.

A few thousand vectors are compared in milliseconds; an index would only add a dependency.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..results import Passage

Vectors = NDArray[np.float32]

# Half precision is enough to rank by, and half the file.
_STORED = np.float16

_SCHEMA = """
CREATE TABLE IF NOT EXISTS document (
    document_id TEXT PRIMARY KEY, title TEXT NOT NULL, sha256 TEXT NOT NULL,
    expires_at TEXT, tokens INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS chunk (
    document_id TEXT NOT NULL REFERENCES document ON DELETE CASCADE,
    ordinal INTEGER NOT NULL, text TEXT NOT NULL, vector BLOB NOT NULL,
    PRIMARY KEY (document_id, ordinal)
) STRICT;
"""


@dataclass(frozen=True, slots=True)
class EmbeddedDocument:
    """A document as it is stored: pieces and vectors in the same order."""

    document_id: str
    title: str
    sha256: str
    tokens: int
    expires_at: datetime | None
    pieces: Sequence[str]
    vectors: Vectors


@dataclass(frozen=True, slots=True)
class VectorStore:
    """Embeddings in the file `path`, which is made by the first write."""

    path: Path

    def put(self, document: EmbeddedDocument) -> None:
        """Store a document, in place of what was known of it: all of it or nothing."""
        expires_at = document.expires_at and _stamp(document.expires_at)
        blobs = [vector.astype(_STORED).tobytes() for vector in document.vectors]
        rows = [
            (document.document_id, ordinal, text, blob)
            for ordinal, (text, blob) in enumerate(zip(document.pieces, blobs, strict=True))
        ]
        with self._transaction() as connection:
            connection.execute("DELETE FROM document WHERE document_id = ?", (document.document_id,))
            connection.execute(
                "INSERT INTO document (document_id, title, sha256, expires_at, tokens) VALUES (?, ?, ?, ?, ?)",
                (document.document_id, document.title, document.sha256, expires_at, document.tokens),
            )
            connection.executemany("INSERT INTO chunk (document_id, ordinal, text, vector) VALUES (?, ?, ?, ?)", rows)

    def find(self, document_id: str, sha256: str) -> tuple[int, int] | None:
        """Chunks and tokens of a document that is stored with exactly this content, else None."""
        with self._transaction() as connection:
            row = connection.execute(
                "SELECT (SELECT count(*) FROM chunk WHERE document_id = ?1), tokens"
                " FROM document WHERE document_id = ?1 AND sha256 = ?2",
                (document_id, sha256),
            ).fetchone()
        return (int(row[0]), int(row[1])) if row else None

    def nearest(self, vector: Vectors, limit: int) -> tuple[Passage, ...]:
        """The passages most similar to a unit vector, best first; ties by document and place."""
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT document_id, title, text, vector FROM chunk JOIN document USING (document_id)"
                " ORDER BY document_id, ordinal"
            ).fetchall()
        if not rows:
            return ()
        matrix = np.frombuffer(b"".join(row[3] for row in rows), dtype=_STORED).reshape(len(rows), -1)
        scores = matrix.astype(np.float32) @ vector
        best = np.argsort(-scores, kind="stable")[:limit]
        return tuple(_passage(rows[index], float(scores[index])) for index in best)

    def purge(self, as_of: datetime) -> tuple[tuple[str, ...], int]:
        """Remove what expired at or before `as_of`. Returns the documents and how many chunks they had."""
        with self._transaction() as connection:
            expired = connection.execute(
                "SELECT document_id, (SELECT count(*) FROM chunk WHERE chunk.document_id = document.document_id)"
                " FROM document WHERE expires_at <= ? ORDER BY document_id",
                (_stamp(as_of),),
            ).fetchall()
            connection.execute("DELETE FROM document WHERE expires_at <= ?", (_stamp(as_of),))
        return tuple(str(row[0]) for row in expired), sum(int(row[1]) for row in expired)

    def clear(self) -> int:
        """Remove everything. Returns how many chunks there were."""
        with self._transaction() as connection:
            chunks = connection.execute("SELECT count(*) FROM chunk").fetchone()[0]
            connection.execute("DELETE FROM document")
        return int(chunks)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self.path, timeout=10.0, isolation_level=None)) as connection:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("BEGIN IMMEDIATE")
            try:
                _create_tables(connection)
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")


def _create_tables(connection: sqlite3.Connection) -> None:
    # Not executescript: that would commit the transaction it runs in.
    for statement in filter(str.strip, _SCHEMA.split(";")):
        connection.execute(statement)


def _passage(row: tuple[str, str, str, bytes], score: float) -> Passage:
    return Passage(document_id=row[0], title=row[1], text=row[2], score=round(score, 4))


def _stamp(time: datetime) -> str:
    """One spelling for each moment, so that text compares like time."""
    return time.astimezone(UTC).isoformat(timespec="microseconds")

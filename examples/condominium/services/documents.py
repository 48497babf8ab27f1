"""Embed a tenant's documents, answer questions from them, forget what has expired."""

import hashlib
from dataclasses import dataclass, field

from .. import library
from ..errors import NothingEmbeddedError
from ..payloads import AnswerQuestion, EmbedDocument, PurgeExpired
from ..results import Answer, EmbeddingReport, PurgeReport
from ..workspace import Workspace
from . import tenant_database
from .embedder import Embedder, WordLlamaEmbedder
from .vector_store import EmbeddedDocument, VectorStore


@dataclass(frozen=True, slots=True)
class Documents:
    """The tenants' documents as vectors."""

    workspace: Workspace
    embedder: Embedder = field(default_factory=WordLlamaEmbedder)

    def embed(self, tenant: str, request: EmbedDocument) -> EmbeddingReport:
        """Embed a document. The same content is embedded once, however often it is asked for.

        Raises UnknownTextError, TenantNotReadyError, TenantCancelledError.
        """
        self._require_active(tenant)
        text = library.read(request.text)
        sha256 = _fingerprint(request, text)
        known = self._store(tenant).find(request.document_id, sha256)
        chunks, tokens = known or self._embed(tenant, request, text, sha256)
        return EmbeddingReport(
            document_id=request.document_id,
            chunks=chunks,
            characters=len(text),
            tokens=tokens,
            already_embedded=known is not None,
        )

    def answer(self, tenant: str, request: AnswerQuestion) -> Answer:
        """The passages of this tenant's documents nearest to the question. Raises NothingEmbeddedError."""
        self._require_active(tenant)
        vector = self.embedder.embed([request.question]).vectors[0]
        passages = self._store(tenant).nearest(vector, request.limit)
        if not passages:
            raise NothingEmbeddedError(f"tenant {tenant!r} has no embedded documents yet", retry_after_seconds=2.0)
        return Answer(question=request.question, passages=passages)

    def purge_expired(self, tenant: str, request: PurgeExpired) -> PurgeReport:
        """Remove the embeddings that expired at or before `as_of`."""
        documents, chunks = self._store(tenant).purge(request.as_of)
        return PurgeReport(documents=documents, chunks=chunks)

    def _embed(self, tenant: str, request: EmbedDocument, text: str, sha256: str) -> tuple[int, int]:
        pieces = list(library.chunks(text))
        vectors, tokens = self.embedder.embed(pieces)
        document = EmbeddedDocument(
            document_id=request.document_id,
            title=request.title,
            sha256=sha256,
            tokens=tokens,
            expires_at=request.expires_at,
            pieces=pieces,
            vectors=vectors,
        )
        self._store(tenant).put(document)
        return len(pieces), tokens

    def _store(self, tenant: str) -> VectorStore:
        return VectorStore(self.workspace.vectors(tenant))

    def _require_active(self, tenant: str) -> None:
        with tenant_database.transaction(self.workspace.database(tenant)):
            pass


def _fingerprint(request: EmbedDocument, text: str) -> str:
    """Content and lifetime: a document whose expiry was changed is stored again."""
    return hashlib.sha256(f"{request.title}\0{request.expires_at}\0{text}".encode()).hexdigest()

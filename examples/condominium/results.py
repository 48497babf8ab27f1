"""Results of the services: immutable, JSON-friendly, the result schemas of the job types."""

from pydantic import BaseModel, ConfigDict


class Result(BaseModel):
    """What all results share."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ProvisionedTenant(Result):
    """A tenant that is ready to be used."""

    directory: str
    personas: tuple[str, ...]
    welcome_document: str


class CancelledTenant(Result):
    """What cancelling a tenant took away, and what it left behind."""

    personas_deactivated: int
    embeddings_removed: int
    closing_statement: str


class RenderedFile(Result):
    """A file that a service wrote."""

    path: str
    sha256: str
    bytes: int
    pages: int


class Capture(Result):
    """A payment that the provider has collected."""

    payment_id: str
    capture_id: str
    amount_cents: int
    currency: str


class EmbeddingReport(Result):
    """What embedding a document came to; `tokens` is what an embedding service would bill."""

    document_id: str
    chunks: int
    characters: int
    tokens: int
    already_embedded: bool


class PurgeReport(Result):
    """The documents whose embeddings have been removed."""

    documents: tuple[str, ...]
    chunks: int


class Passage(Result):
    """A piece of a document; `score` is the cosine similarity to the question, -1 to 1."""

    document_id: str
    title: str
    text: str
    score: float


class Answer(Result):
    """The passages nearest to a question, best first."""

    question: str
    passages: tuple[Passage, ...]


class AppliedAction(Result):
    """A confirmed action that has taken effect."""

    action_id: str
    kind: str
    summary: str
    already_applied: bool

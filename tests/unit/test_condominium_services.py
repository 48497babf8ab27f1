"""The example's services on real components: SQLite files, PDFs, the embedding library, HTTP."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from examples.condominium import catalog, library
from examples.condominium.errors import (
    ConflictingActionError,
    NothingEmbeddedError,
    PermanentError,
    TenantCancelledError,
    TenantNotReadyError,
    UnknownTextError,
)
from examples.condominium.payloads import (
    Action,
    AnswerQuestion,
    ApplyAction,
    BookRoom,
    CancelTenant,
    EmbedDocument,
    InvoiceLine,
    IssueReceipt,
    ProvisionTenant,
    PurgeExpired,
    RenderInvoice,
    SendNotice,
)
from examples.condominium.services.assistant import Assistant
from examples.condominium.services.documents import Documents
from examples.condominium.services.invoices import Invoices
from examples.condominium.services.tenants import Tenants
from examples.condominium.stories import owner_of
from examples.condominium.workspace import Workspace

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
PROVISION = ProvisionTenant(name="Condomínio Bela Vista", plan="standard", units=64)
CANCEL = CancelTenant(reason="moves away", effective_on=date(2026, 3, 31))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.fixture
def acme(workspace: Workspace) -> str:
    Tenants(workspace).provision("acme", PROVISION)
    return "acme"


def invoice() -> RenderInvoice:
    return RenderInvoice(
        invoice_id="INV-1",
        unit="101",
        resident="João Batista",
        issued_on=date(2026, 3, 2),
        due_on=date(2026, 3, 20),
        currency="BRL",
        lines=(InvoiceLine(description="Fee", amount_cents=100_050), InvoiceLine(description="Água", amount_cents=7)),
    )


def document(name: str, expires_at: datetime | None = None) -> EmbedDocument:
    return EmbedDocument(document_id=name.replace("/", "-"), title=name, text=name, expires_at=expires_at)


def action(action_id: str, what: Action) -> ApplyAction:
    return ApplyAction(action_id=action_id, confirmed_by="Ana Souza", confirmed_at=NOW, action=what)


def test_provisioning_twice_is_provisioning_once(workspace: Workspace) -> None:
    """A tenant that is provisioned again has the same personas and the same files as before."""
    tenants = Tenants(workspace)
    first = tenants.provision("acme", PROVISION)
    assert tenants.provision("acme", PROVISION) == first
    assert set(first.personas) == set(catalog.PERSONAS)
    assert "Condomínio Bela Vista" in Path(first.welcome_document).read_text(encoding="utf-8")


def test_provisioning_goes_on_where_it_was_cut_off(workspace: Workspace) -> None:
    """After some steps the whole can be run again."""
    tenants = Tenants(workspace)
    tenants.create_directory("acme")
    tenants.create_database("acme", PROVISION)
    assert len(tenants.provision("acme", PROVISION).personas) == len(catalog.PERSONAS)


def test_a_name_cannot_leave_the_workspace(workspace: Workspace) -> None:
    """A tenant's name that is no slug is refused before any file is touched."""
    with pytest.raises(PermanentError, match="slug"):
        Tenants(workspace).provision("../acme", PROVISION)
    assert not workspace.root.parent.joinpath("acme").exists()


def test_nothing_works_before_provisioning(workspace: Workspace) -> None:
    """Services of a tenant that is not there yet fail temporarily."""
    with pytest.raises(TenantNotReadyError):
        Invoices(workspace).render("acme", invoice())
    with pytest.raises(TenantNotReadyError):
        Tenants(workspace).cancel("acme", CANCEL)


def test_a_half_made_database_is_a_tenant_not_ready(workspace: Workspace) -> None:
    """A database file without a tenant in it counts as not provisioned."""
    workspace.tenant("acme").mkdir(parents=True)
    sqlite3.connect(workspace.database("acme")).close()
    workspace.database("acme").touch()
    with pytest.raises(TenantNotReadyError):
        Invoices(workspace).render("acme", invoice())


def test_a_cancelled_tenant_is_refused_for_good(workspace: Workspace, acme: str) -> None:
    """After cancelling, which may be repeated, all services refuse the tenant and its embeddings are gone."""
    documents = Documents(workspace)
    documents.embed(acme, document("kjv/63-2-john.txt"))
    cancelled = Tenants(workspace).cancel(acme, CANCEL)
    assert cancelled.embeddings_removed > 0
    assert cancelled.personas_deactivated == len(catalog.PERSONAS)
    assert Tenants(workspace).cancel(acme, CANCEL).embeddings_removed == 0
    with pytest.raises(TenantCancelledError):
        Invoices(workspace).render(acme, invoice())
    with pytest.raises(TenantCancelledError):
        documents.embed(acme, document("kjv/63-2-john.txt"))


def test_an_invoice_is_a_real_pdf_and_always_the_same(workspace: Workspace, acme: str) -> None:
    """An invoice is a PDF file; rendering it again gives the same bytes."""
    first = Invoices(workspace).render(acme, invoice())
    content = Path(first.path).read_bytes()
    assert content.startswith(b"%PDF-")
    assert content.rstrip().endswith(b"%%EOF")
    assert (first.bytes, first.pages) == (len(content), 1)
    assert Invoices(workspace).render(acme, invoice()) == first
    assert [path.name for path in Path(first.path).parent.iterdir()] == ["INV-1.pdf"]


def test_a_receipt_is_a_pdf(workspace: Workspace, acme: str) -> None:
    """A receipt is a PDF file of its own."""
    paid = {"resident": "Olívia Serra", "amount_cents": 5_000, "currency": "BRL", "paid_at": NOW}
    receipt = IssueReceipt.model_validate({"payment_id": "PAY-1", "invoice_id": "INV-1", **paid})
    assert Path(Invoices(workspace).issue_receipt(acme, receipt).path).read_bytes().startswith(b"%PDF-")


def test_a_document_is_embedded_once(workspace: Workspace, acme: str) -> None:
    """The same document embedded again is recognised; the report says the same of it."""
    documents = Documents(workspace)
    first = documents.embed(acme, document("kjv/08-ruth.txt"))
    again = documents.embed(acme, document("kjv/08-ruth.txt"))
    assert (first.already_embedded, again.already_embedded) == (False, True)
    assert again.model_copy(update={"already_embedded": False}) == first
    assert first.tokens > first.chunks > 5


def test_a_text_that_is_not_there_fails_for_good(workspace: Workspace, acme: str) -> None:
    """An unknown text is a permanent error, and so is one outside the library."""
    with pytest.raises(UnknownTextError):
        Documents(workspace).embed(acme, document("kjv/67-thomas.txt"))
    with pytest.raises(UnknownTextError):
        library.read("../catalog.py")


@pytest.mark.parametrize(("question", "text"), catalog.QUESTIONS, ids=[text for _, text in catalog.QUESTIONS])
def test_questions_are_answered_from_the_right_document(
    workspace: Workspace, acme: str, question: str, text: str
) -> None:
    """Of the document that a question is about and two others, a passage of that document is among the nearest."""
    documents = Documents(workspace)
    for name in {text, "kjv/08-ruth.txt", "jargon/q.txt"}:
        documents.embed(acme, document(name))
    passages = documents.answer(acme, AnswerQuestion(question_id="Q-1", question=question)).passages
    assert text.replace("/", "-") in {passage.document_id for passage in passages}
    assert [passage.score for passage in passages] == sorted((passage.score for passage in passages), reverse=True)


def test_the_battlement_of_the_roof_is_found(workspace: Workspace, acme: str) -> None:
    """A question in today's words finds the verse on the battlement of the roof."""
    question, text = catalog.QUESTIONS[0]
    documents = Documents(workspace)
    documents.embed(acme, document(text))
    answer = documents.answer(acme, AnswerQuestion(question_id="Q-1", question=question, limit=1))
    assert "battlement for thy roof" in answer.passages[0].text


def test_no_tenant_finds_what_another_has_embedded(workspace: Workspace, acme: str) -> None:
    """A tenant without documents gets no answer, whatever others have."""
    Documents(workspace).embed(acme, document("kjv/08-ruth.txt"))
    Tenants(workspace).provision("other", PROVISION)
    with pytest.raises(NothingEmbeddedError):
        Documents(workspace).answer("other", AnswerQuestion(question_id="Q-1", question="Who is Ruth?"))


def test_expired_embeddings_are_purged(workspace: Workspace, acme: str) -> None:
    """Purging removes what has expired by then, in any time zone, and nothing else; again it removes nothing."""
    documents = Documents(workspace)
    documents.embed(acme, document("kjv/63-2-john.txt", expires_at=NOW))
    documents.embed(acme, document("kjv/64-3-john.txt", expires_at=NOW + timedelta(days=1)))
    documents.embed(acme, document("kjv/57-philemon.txt"))
    assert documents.purge_expired(acme, PurgeExpired(as_of=NOW - timedelta(seconds=1))).documents == ()
    report = documents.purge_expired(acme, PurgeExpired(as_of=NOW))
    assert report.documents == ("kjv-63-2-john.txt",)
    assert report.chunks > 0
    assert documents.purge_expired(acme, PurgeExpired(as_of=NOW)).documents == ()


def test_many_threads_embed_into_one_tenant(workspace: Workspace, acme: str) -> None:
    """Documents embedded at the same time are all there afterwards."""
    names = [text.name for text in library.texts() if text.name.startswith("kjv/6")]
    documents = Documents(workspace)
    with ThreadPoolExecutor(8) as pool:
        reports = list(pool.map(lambda name: documents.embed(acme, document(name)), names * 2))
    assert {report.document_id for report in reports} == {name.replace("/", "-") for name in names}
    assert Tenants(workspace).remove_embeddings(acme) == sum(report.chunks for report in reports) // 2


def test_a_confirmed_action_is_applied_once(workspace: Workspace, acme: str) -> None:
    """Applying an action again changes nothing and says so."""
    notice = action("ACT-1", SendNotice(title="Water", text="No water on Tuesday"))
    assert Assistant(workspace).apply(acme, notice).already_applied is False
    assert Assistant(workspace).apply(acme, notice).already_applied is True


def test_a_room_is_booked_by_one(workspace: Workspace, acme: str) -> None:
    """The second to book a room on a day is refused for good, and is not told who has it."""
    first, second = (BookRoom(room="gym", day=date(2026, 4, 1), unit=unit) for unit in ("101", "202"))
    Assistant(workspace).apply(acme, action("ACT-1", first))
    with pytest.raises(ConflictingActionError) as caught:
        Assistant(workspace).apply(acme, action("ACT-2", second))
    assert "101" not in str(caught.value)


def test_chunks_lose_nothing() -> None:
    """The pieces of a text hold all its words in their order, none is empty."""
    text = library.read("kjv/08-ruth.txt")
    pieces = list(library.chunks(text))
    assert " ".join(pieces).split() == text.split()
    assert all(pieces)


def test_every_question_belongs_to_the_tenant_that_has_the_text() -> None:
    """The owner of a text is one of the tenants that stay."""
    assert all(owner_of(text) in {tenant.slug for tenant in catalog.TENANTS} for _, text in catalog.QUESTIONS)

"""Render invoices and receipts as PDF files. The same request gives the same file, byte for byte."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, time
from pathlib import Path

from fpdf import FPDF
from fpdf.enums import XPos, YPos

from ..payloads import IssueReceipt, RenderInvoice
from ..results import RenderedFile
from ..workspace import Workspace, write_whole
from . import tenant_database


@dataclass(frozen=True, slots=True)
class Invoices:
    """Invoices and receipts of all tenants, below `invoices/` and `receipts/`."""

    workspace: Workspace

    def render(self, tenant: str, invoice: RenderInvoice) -> RenderedFile:
        """Write the PDF of an invoice. Raises TenantNotReadyError, TenantCancelledError."""
        issuer = self._issuer(tenant)
        page = _page(f"Invoice {invoice.invoice_id}", datetime.combine(invoice.issued_on, time(), UTC))
        _fact(page, "From", issuer)
        _fact(page, "To", f"{invoice.resident}, unit {invoice.unit}")
        _fact(page, "Issued", invoice.issued_on.isoformat())
        _fact(page, "Due", invoice.due_on.isoformat())
        page.ln(4)
        with page.table(col_widths=(3, 1), text_align=("LEFT", "RIGHT"), line_height=8) as table:
            table.row(("Description", invoice.currency))
            for line in invoice.lines:
                table.row((line.description, _amount(line.amount_cents)))
            table.row(("Total", _amount(invoice.total_cents)))
        return _write(page, self.workspace.invoice(tenant, invoice.invoice_id))

    def issue_receipt(self, tenant: str, receipt: IssueReceipt) -> RenderedFile:
        """Write the PDF of a receipt. Raises TenantNotReadyError, TenantCancelledError."""
        issuer = self._issuer(tenant)
        page = _page(f"Receipt {receipt.payment_id}", receipt.paid_at)
        _fact(page, "From", issuer)
        _fact(page, "Received from", receipt.resident)
        _fact(page, "For invoice", receipt.invoice_id)
        _fact(page, "Amount", f"{receipt.currency} {_amount(receipt.amount_cents)}")
        _fact(page, "Paid at", receipt.paid_at.astimezone(UTC).isoformat(timespec="seconds"))
        return _write(page, self.workspace.receipt(tenant, receipt.payment_id))

    def _issuer(self, tenant: str) -> str:
        with tenant_database.transaction(self.workspace.database(tenant)) as connection:
            return str(connection.execute("SELECT name FROM tenant").fetchone()[0])


def _page(title: str, created_at: datetime) -> FPDF:
    page = FPDF(format="A4")
    # The time of rendering would make two renderings of one invoice differ.
    page.set_creation_date(created_at)
    page.set_title(title)
    page.add_page()
    page.set_font("Helvetica", "B", 18)
    page.cell(text=title, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    page.ln(4)
    page.set_font("Helvetica", size=11)
    return page


def _fact(page: FPDF, name: str, value: str) -> None:
    page.cell(w=40, h=7, text=name)
    page.cell(h=7, text=value, new_x=XPos.LMARGIN, new_y=YPos.NEXT)


def _amount(cents: int) -> str:
    return f"{cents // 100:,}.{cents % 100:02d}"


def _write(page: FPDF, path: Path) -> RenderedFile:
    content = bytes(page.output())
    write_whole(path, content)
    return RenderedFile(
        path=str(path),
        sha256=hashlib.sha256(content).hexdigest(),
        bytes=len(content),
        pages=page.pages_count,
    )

"""The secrets of one attempt: handed to its handler, and kept out of everything that is recorded of it."""

from __future__ import annotations

import json
import threading
from urllib.parse import quote, quote_plus

from jobledger.domain.errors import UnknownSecret, VaultUnavailable

from ..ports import SecretVault

LENGTH_MIN = 4
"""A shorter secret cannot be told from other text."""
_CUTS = ("...", "\N{HORIZONTAL ELLIPSIS}")
"""Where a long value is shown without its middle: pydantic does that."""
_CUT_LENGTH_MIN = 4
_LINE_LENGTH_MIN = 8
"""A shorter line of a secret stands in many texts (a bracket, say) that tell nothing of it."""


class NoVault:
    """The vault of an installation that has none."""

    def get(self, name: str, tenant: str) -> str:
        """There is nobody to ask: raises `VaultUnavailable`."""
        raise VaultUnavailable(
            f"the secret {name!r} is wanted and this worker knows no vault: set JOBLEDGER_SECRETS_FILE"
        )


class Secrets:
    """`context.secrets`: the text of a secret by its name, for the job's tenant. Remembers what it gave."""

    __slots__ = ("_forms", "_lines", "_lock", "_tenant", "_texts", "_vault")

    def __init__(self, vault: SecretVault, tenant: str) -> None:
        self._vault = vault
        self._tenant = tenant
        self._texts: dict[str, str] = {}
        self._forms: list[tuple[str, str]] = []
        """Every spelling of what was given, the longest first, with its secret's name."""
        self._lines: list[tuple[str, str]] = []
        """The lines of those that have several: a traceback indents each, a log may show them one by one."""
        self._lock = threading.Lock()

    def __getitem__(self, name: str) -> str:
        """The text of a secret; the same one in all of the attempt. Raises `UnknownSecret` or `VaultUnavailable`,
        which a handler lets pass: the first ends the job in the DLQ, the second puts it off without counting."""
        with self._lock:
            text = self._texts.get(name)
            if text is None:
                text = self._texts[name] = self._ask(name)
            return text

    def __repr__(self) -> str:
        """Shows names only."""
        return f"<secrets: {', '.join(self._texts) or 'none was asked for'}>"

    def redact(self, text: str) -> str:
        """The text with `[secret:name]` in place of every secret that was given, in each of its spellings."""
        for form, name in (*self._forms, *self._lines):
            if form in text:
                text = text.replace(form, f"[secret:{name}]")
        for cut in _CUTS:
            if cut in text:
                for form, name in self._forms:
                    text = _without_parts(text, cut, form, f"[secret:{name}]")
        return text

    def named_in(self, recorded: bytes) -> str | None:
        """The name of a secret that stands in what is about to be recorded."""
        for form, name in self._forms:
            if form.encode("utf-8", "surrogatepass") in recorded:
                return name
        return None

    def _ask(self, name: str) -> str:
        text = self._vault.get(name, self._tenant)
        if len(text) < LENGTH_MIN:
            raise UnknownSecret(
                f"the secret {name!r} has fewer than {LENGTH_MIN} characters: it could not be kept out of the ledger"
            )
        forms = {*((form, name) for form in _spellings(text)), *self._forms}
        self._lines += ((line, name) for line in _lines(text))
        self._forms = sorted(forms, key=lambda form: -len(form[0]))
        return text


def _spellings(text: str) -> set[str]:
    """How a secret may appear: as it is, in Python's repr, in JSON, in a URL."""
    quoted = {quote(text, safe="", errors="replace"), quote(text, errors="replace"), quote_plus(text, errors="replace")}
    dumped = {json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    spellings = {text, text.strip(), repr(text)[1:-1], *dumped, *quoted}
    return {spelling for spelling in spellings if len(spelling) >= LENGTH_MIN}


def _lines(text: str) -> list[str]:
    lines = [line.strip() for line in text.strip().splitlines()]
    return sorted((line for line in lines if len(line) >= _LINE_LENGTH_MIN), key=len, reverse=True) if lines[1:] else []


def _without_parts(text: str, cut: str, form: str, shown: str) -> str:
    """The text without what is left of a secret beside each cut."""
    pieces = text.split(cut)
    last = len(pieces) - 1
    for index, piece in enumerate(pieces):
        kept = _without_end_at_start(piece, form, shown) if index > 0 else piece
        pieces[index] = _without_start_at_end(kept, form, shown) if index < last else kept
    return cut.join(pieces)


def _without_start_at_end(piece: str, form: str, shown: str) -> str:
    for length in range(min(len(form), len(piece)), _CUT_LENGTH_MIN - 1, -1):
        if piece.endswith(form[:length]):
            return f"{piece[:-length]}{shown}"
    return piece


def _without_end_at_start(piece: str, form: str, shown: str) -> str:
    for length in range(min(len(form), len(piece)), _CUT_LENGTH_MIN - 1, -1):
        if piece.startswith(form[-length:]):
            return f"{shown}{piece[length:]}"
    return piece

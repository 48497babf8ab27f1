"""The public-domain texts of `texts/` (see SOURCES.md there)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .errors import UnknownTextError

TEXTS = Path(__file__).parent / "texts"
_COLLECTIONS = {"kjv": "King James Bible", "jargon": "Jargon File"}
# About a verse or two: a vector averages its words, so that a long piece is about nothing in particular.
CHUNK_CHARACTERS = 240


@dataclass(frozen=True, slots=True)
class Text:
    """One text: `name` is its path below `texts/`."""

    name: str
    title: str


def texts() -> tuple[Text, ...]:
    """All texts, in a fixed order."""
    return tuple(
        Text(f"{folder}/{path.name}", f"{title}: {_words(path.stem)}")
        for folder, title in _COLLECTIONS.items()
        for path in sorted((TEXTS / folder).glob("*.txt"))
    )


def read(name: str) -> str:
    """The content of a text. Raises UnknownTextError."""
    path = (TEXTS / name).resolve()
    if not path.is_relative_to(TEXTS.resolve()) or not path.is_file():
        raise UnknownTextError(f"no text named {name!r} in the library")
    return path.read_text(encoding="utf-8")


def chunks(text: str, size: int = CHUNK_CHARACTERS) -> Iterator[str]:
    """Cut a text into pieces of about `size` characters, at line ends only. A longer line is one piece.

    Two empty lines end a piece: they part chapters and dictionary entries, which have nothing to do with each other.
    """
    for section in text.split("\n\n\n"):
        yield from _pieces(section, size)


def _pieces(section: str, size: int) -> Iterator[str]:
    piece: list[str] = []
    length = 0
    for line in filter(str.strip, section.splitlines()):
        if piece and length + len(line) > size:
            yield "\n".join(piece)
            piece, length = [], 0
        piece.append(line)
        length += len(line) + 1
    if piece:
        yield "\n".join(piece)


def _words(stem: str) -> str:
    return stem.lstrip("0123456789-").replace("-", " ").title() if stem[:2].isdigit() else stem.upper()

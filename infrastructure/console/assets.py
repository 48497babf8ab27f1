"""Files that pages load: read once, named by what is in them, so that browsers may keep them for good."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent / "static"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class Asset(NamedTuple):
    """A file, and the digest that its address carries."""

    content: bytes
    media_type: str
    digest: str


def load() -> Mapping[str, Asset]:
    """All of them by name."""
    return {path.name: _asset(path) for path in sorted(FOLDER.rglob("*")) if path.suffix in _TYPES}


def _asset(path: Path) -> Asset:
    content = path.read_bytes()
    return Asset(content, _TYPES[path.suffix], hashlib.sha256(content).hexdigest()[:16])

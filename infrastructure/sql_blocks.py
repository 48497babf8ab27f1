"""Named blocks of SQL: `-- name: claim`, a comment that says why, the statement. Both engines load theirs with this.

Use them as `SQL["claim"]`: a test finds by that spelling every name that is used, and every one that is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources

_MARK = "-- name:"


def load(package: str, *files: str) -> Mapping[str, str]:
    """The blocks of `files` (paths inside `package`) by name, without their comments.

    Comments are dropped because drivers look for placeholders in them. `ValueError` for a name that stands twice.
    """
    blocks: dict[str, str] = {}
    for file in files:
        for name, statement in parse(resources.files(package).joinpath(file).read_text(encoding="utf-8")).items():
            if name in blocks:
                raise ValueError(f"{file}: the block {name!r} stands twice")
            blocks[name] = statement
    return blocks


def parse(text: str) -> dict[str, str]:
    """The blocks of one file. What stands before the first mark belongs to no block."""
    blocks: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith(_MARK):
            name = line.removeprefix(_MARK).strip()
            if name in blocks:
                raise ValueError(f"the block {name!r} stands twice")
            lines = blocks[name] = []
        elif not line.lstrip().startswith("--"):
            lines.append(line)
    return {name: "\n".join(lines).strip() for name, lines in blocks.items()}

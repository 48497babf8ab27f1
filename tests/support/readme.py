"""The README's programs, whole, and its job type."""

from __future__ import annotations

import re
from types import ModuleType

from .repository import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
FILES = {block.split()[2]: block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL)}
"""By what the first line of each says to save it as."""


def billing() -> ModuleType:
    """`billing.py`, as the README has it."""
    module = ModuleType("billing")
    exec(compile(FILES["billing.py"], "billing.py", "exec"), vars(module))
    return module

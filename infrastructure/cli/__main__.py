"""`python -m jobledger.infrastructure.cli`: the program, wherever its script is."""

from __future__ import annotations

from .main import main

main()

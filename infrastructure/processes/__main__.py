"""`python -m jobledger.infrastructure.processes DESCRIPTOR`: the zygote of a worker."""

from __future__ import annotations

import sys

from .zygote import main

main(int(sys.argv[1]))

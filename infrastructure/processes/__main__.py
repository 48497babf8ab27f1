"""`python -m jobledger.infrastructure.processes DESCRIPTOR`: the zygote of a worker."""

from __future__ import annotations

import gc
import sys
from importlib import import_module

gc.disable()  # nothing is garbage yet, and looking for some takes a third of the time
zygote = import_module(".zygote", __package__)
gc.freeze()
gc.enable()
zygote.main(int(sys.argv[1]))

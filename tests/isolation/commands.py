"""Every command of the command line: how `--tenant A` asks for tenant B's things there.

Commands act as a database login, which may do what it may for every tenant; but about one tenant they show and change
nothing of another. A new command needs a row:

- `AsAbsent`: with A's tenant, it takes something that a tenant has: B's is answered as what does not exist.
- `Within`: it takes a tenant and nothing else: it shows nothing of another.
- `Whole`: it is for the installation; say why.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple


class AsAbsent(NamedTuple):
    """Command lines, without the command's name; `{their.job}` and so on are names."""

    asks: tuple[str, ...]


class Within(NamedTuple):
    """A command line, without the command's name."""

    ask: str


class Whole(NamedTuple):
    """It knows no tenant, or all."""

    why: str


Row = AsAbsent | Within | Whole

_T: Final = "--tenant {own.tenant} --json"
_WHY: Final = "--reason tried"
_INSTALLATION: Final = "is about the whole installation, which its login administers"
_SERVES: Final = "is a service for all tenants of its login"
_NAMED: Final = "names a tenant, and is about that one; whoever has the login administers all"

COMMANDS: Final[Mapping[str, Row]] = {
    "dispatch": AsAbsent((
        f"number.double --idempotency-key {{their.idempotency_key}} {_WHY} {_T}",
        f"number.double --persona {{their.persona}} --limit-key {{their.limit_key}} {_WHY} {_T}",
    )),
    "jobs list": AsAbsent((f"--persona {{their.persona}} {_T}", f"--queue {{their.queue}} {_T}")),
    "jobs show": AsAbsent((f"{{their.job}} {_T}", f"{{their.job}} --bodies {_T}", f"{{their.dead}} {_T}")),
    "jobs cancel": AsAbsent((f"{{their.job}} {_WHY} {_T}",)),
    "jobs reschedule": AsAbsent((f"{{their.job}} --priority 5 {_WHY} {_T}",)),
    "jobs history": AsAbsent((f"{{their.dead}} {_T}", f"{{their.dead}} --bodies {_T}")),
    "jobs diff": AsAbsent((f"{{their.dead}} 1 {_T}",)),
    "jobs trace": AsAbsent((f"{{their.request}} {_T}",)),
    "jobs explain": AsAbsent((f"{{their.job}} {_T}", f"{{their.running}} {_T}")),
    "dlq list": AsAbsent((f"--persona {{their.persona}} {_T}",)),
    "dlq show": AsAbsent((f"{{their.dead}} {_T}", f"{{their.dead}} --bodies {_T}")),
    "dlq requeue": AsAbsent((f"{{their.dead}} {_WHY} {_T}", f"--persona {{their.persona}} --dry-run {_T}")),
    "dlq discard": AsAbsent((f"{{their.dead}} {_WHY} {_T}", f"--persona {{their.persona}} --dry-run {_T}")),
    "dlq history": Within(_T),
    "stats": Within(_T),
    "limits list": Within(_T),
    "limits set": AsAbsent((f"--persona {{their.persona}} --concurrency 3 {_WHY} {_T}",)),
    "limits remove": AsAbsent((f"--persona {{their.persona}} {_WHY} {_T}",)),
    "limits pause": AsAbsent((f"--key {{their.limit_key}} {_WHY} {_T}",)),
    "limits resume": AsAbsent((f"--key {{their.limit_key}} {_WHY} {_T}",)),
    "limits history": AsAbsent((f"--persona {{their.persona}} {_T}", f"--key {{their.limit_key}} {_T}")),
    "audit replay": Within("--tenant {own.tenant} --bodies --reason tried"),
    "audit actions": Within(_T),
    "projections rebuild": AsAbsent((f"tenant_jobs --job {{their.job}} {_WHY} {_T}",)),
    "projections verify": AsAbsent((f"tenant_jobs --job {{their.job}} {_T}",)),
    "audit verify": Whole("looks at a file alone"),
    "check": Whole("looks at a program alone"),
    "openapi": Whole("looks at nothing"),
    "version": Whole("looks at nothing"),
    "types list": Whole("types and their schemas are the programs', not a tenant's"),
    "migrate": Whole(_INSTALLATION),
    "workers": Whole(_INSTALLATION),
    "up": Whole(_SERVES),
    "work": Whole(_SERVES),
    "serve": Whole(_SERVES),
    "queues list": Whole(_INSTALLATION),
    "queues pause": Whole(_INSTALLATION),
    "queues resume": Whole(_INSTALLATION),
    "keys create": Whole(_INSTALLATION),
    "keys list": Whole(_INSTALLATION),
    "keys rotate": Whole(_INSTALLATION),
    "keys revoke": Whole(_INSTALLATION),
    "tenants list": Whole(_INSTALLATION),
    "tenants create": Whole(_NAMED),
    "tenants suspend": Whole(_NAMED),
    "tenants resume": Whole(_NAMED),
    "tenants pause": Whole(_NAMED),
    "tenants unpause": Whole(_NAMED),
    "projections status": Whole(_INSTALLATION),
    "projections parked": Whole(_INSTALLATION),
    "projections retry-parked": Whole(_INSTALLATION),
    "projections skip-parked": Whole(_INSTALLATION),
    "projections unskip": Whole(_INSTALLATION),
    "projections cancel": Whole(_INSTALLATION),
    "projections drop-previous": Whole(_INSTALLATION),
    "projections fill": Whole("is a part of a rebuild, started by it"),
}  # fmt: skip
"""By name."""

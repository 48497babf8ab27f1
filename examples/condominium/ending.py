"""The screens around the story. Lists and histories are shown by the commands that anybody would type."""

import json
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from jobledger.domain.identifiers import short_id

from . import catalog, stage
from .board import Place, Watched
from .chapters import Chapter
from .demo import Demo
from .screens import answer, commands, refused_table, section

_TENANT = catalog.TENANTS[1].slug
_OTHER_TENANT = catalog.TENANTS[0].slug
_ROWS = "6"
_MADE = (
    ("invoices", "invoices/*/*.pdf"),
    ("receipts", "receipts/*/*.pdf"),
    ("databases", "tenants/*/condominium.db"),
    ("archives of embeddings", "tenants/*/embeddings.db"),
)


def introduce(console: Console, url: str, story: Sequence[Chapter]) -> None:
    """What is about to happen, and where."""
    lines = sum(len(chapter.deliveries) for chapter in story)
    console.print(Text("jobledger: a SaaS for condominiums", style="bold"))
    facts = (
        ("input", f"{lines} CloudEvents, some bad on purpose: {stage.EVENTS}"),
        ("ledger", url),
        ("worker", f"another process: jobledger up --app {stage.APP}"),
        ("provider", "takes payments over HTTP; now and then down, busy or slow"),
    )
    for name, fact in facts:
        console.print(Text.assemble((f"  {name:<10}", "dim"), fact), soft_wrap=True)
    console.print()


def show(console: Console, url: str, demo: Demo) -> None:
    """What the ledger knows now, and what to try next."""
    _conclude(console, demo)
    _run(console, f"The newest jobs of a tenant: {_TENANT}", "jobs", "list", "--tenant", _TENANT, "--limit", _ROWS)
    _run(
        console, f"Those of one persona of {_OTHER_TENANT}", "jobs", "list", "--tenant", _OTHER_TENANT,
        "--persona", catalog.BILLING_BOT, "--limit", _ROWS,
    )  # fmt: skip
    _show_dead(console, demo)
    retried = demo.board.most_retried()
    if retried is not None:
        _run(console, "One job's history: why it was retried", "jobs", "history", *_named(retried))
    _show_refused(console, demo)
    _show_answer(console, demo)
    _show_files(console)
    section(console, "Try next")
    commands(console, _suggestions(url, demo))


def _conclude(console: Console, demo: Demo) -> None:
    outcome, board = demo.outcome, demo.board
    tally = board.tally()
    console.print()
    _say(console, Text.assemble(
        (f"{outcome.lines} lines", "bold"), " became ", (f"{len(outcome.jobs)} jobs", "bold green"), " and ",
        (f"{len(outcome.refused)} refusals", "bold yellow"), f"; {outcome.repeated_events} events came twice and "
        f"{outcome.repeated_keys} payments in another event, without effect.",
    ))  # fmt: skip
    _say(console, Text.assemble(
        (f"{tally.done} jobs are done", "bold green"), ", ", (f"{tally.dead} are dead letters", "bold red"),
        f"; {tally.retries} attempts were retried. {board.events:,} events in {demo.progress.seconds:.1f} s; "
        f"estimated cost {board.cost:.2f}.",
    ))  # fmt: skip


def _say(console: Console, text: Text) -> None:
    """Broken into lines between words on a terminal, whole elsewhere."""
    console.print(text, soft_wrap=not console.is_terminal)


def _run(console: Console, title: str, *words: str) -> None:
    section(console, title, shlex.join(("jobledger", *words)))
    stage.run_command(*words)


def _show_dead(console: Console, demo: Demo) -> None:
    dead = Counter(job.tenant for job in demo.board.jobs.values() if job.place is Place.DEAD).most_common()
    if dead:
        (tenant, _), *others = dead
        _run(console, f"Dead letters of {tenant}: only people get them out", "dlq", "list", "--tenant", tenant)
        elsewhere = ", ".join(f"{number} of {name}" for name, number in others)
        _say(console, Text(f"dead letters of other tenants: {elsewhere or 'none'}", style="dim"))


def _show_refused(console: Console, demo: Demo) -> None:
    section(console, "What was refused, and why (each refusal stands in the ledger)")
    console.print(refused_table(demo.outcome.refused))
    console.print(Text(f"line by line: {stage.REFUSED}", style="dim"))


def _show_answer(console: Console, demo: Demo) -> None:
    found = demo.answer_to(catalog.QUESTIONS[0][0])
    if found is not None:
        section(console, "What a resident asked, answered from the tenant's own documents")
        console.print(answer(found))


def _show_files(console: Console) -> None:
    section(console, "What the jobs made")
    for name, pattern in _MADE:
        found = sorted(stage.FILES.glob(pattern))
        if found:
            _say(console, Text.assemble((f"{len(found):>4} {name}", "green"), f", such as {found[0]}"))


def _suggestions(url: str, demo: Demo) -> list[tuple[str, str]]:
    """Comment and command. They are run from where the demo was run, one after the other."""
    question = {"question_id": "mine", "question": "Who may sit at the fire in the winter house?"}
    found = [
        ("this ledger", f"export JOBLEDGER_DATABASE={url}"),
        ("who is there, and what can be done", f"{_typed('tenants', 'list')} && {_typed('types', 'list')}"),
        ("do the job types keep the rules?", _typed("check", "--app", stage.APP)),
    ]
    retried = demo.board.most_retried()
    if retried is not None:
        again = _typed("jobs", "history", *_named(retried), "--bodies")
        found.append(("that history again, with payload, tracebacks and result", again))
    found.append(("ask the archive yourself", _typed(
        "dispatch", "document.answer", "--tenant", _TENANT, "--reason", "trying it out",
        "--payload", json.dumps(question),
    )))  # fmt: skip
    booking = demo.repaired_booking()
    if booking is not None:
        job, payload = booking
        found.append(("two families wanted one room: give the second one another day", _typed(
            "dlq", "requeue", *_named(job), "--reason", "they agreed on another day",
            "--payload", json.dumps(payload, ensure_ascii=False),
        )))  # fmt: skip
    worker = _typed("up", "--app", stage.APP, "--drain")
    return [*found, ("let a worker do what waits now, and end; `jobs show` tells what came of it", worker)]


def _typed(*words: str) -> str:
    """A command as one types it here."""
    path = Path(sys.executable).with_name("jobledger")
    program = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return shlex.join((str(program), *words))


def _named(job: Watched) -> tuple[str, str, str]:
    """How a command names a job: the end of its id is enough within its tenant."""
    return short_id(job.job_id), "--tenant", job.tenant

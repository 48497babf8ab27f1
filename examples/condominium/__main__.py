"""`python -m examples.condominium`: the demo, from an empty folder to a ledger that is left to look at."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from types import FrameType

from rich.console import Console
from rich.text import Text

from jobledger import JobledgerError
from jobledger.infrastructure.bootstrap import migrate, open_ledger
from jobledger.infrastructure.settings import load

from . import ending, events, screens, stage
from .chapters import Chapter, in_chapters
from .demo import Demo
from .inbox import Inbox
from .jobs import app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; 0 when the whole story was told."""
    parser = argparse.ArgumentParser(prog="python -m examples.condominium", description=__doc__)
    parser.add_argument("--postgres", action="store_true", help="on an embedded PostgreSQL instead of SQLite")
    parser.add_argument("--seed", type=int, default=events.DEFAULT_SEED, help="another story (default: %(default)s)")
    options = parser.parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):  # a closed terminal must not leave the worker behind
        signal.signal(number, _interrupt)
    console = screens.make_console()
    try:
        _run(console, postgres=options.postgres, seed=options.seed)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read our output has left
        return 1
    except (stage.DemoError, JobledgerError, OSError) as error:
        _last_words(console, f"The demo ends here: {error}", "red")
        return 1
    except KeyboardInterrupt:
        _last_words(console, f"stopped; what was done so far is in {stage.ROOT}", "dim")
        return 130
    return 0


def _run(console: Console, *, postgres: bool, seed: int) -> None:
    with stage.empty_folder(), stage.logging_to_a_file():
        stage.EVENTS.write_text(events.as_text(events.generate(seed)), encoding="utf-8")
        story = in_chapters(Inbox(app).read(stage.EVENTS))
        url = stage.choose_database(postgres=postgres)
        ending.introduce(console, url, story)
        with stage.server(url):
            migrate(load())
            _tell(console, url, story, seed)


def _tell(console: Console, url: str, story: Sequence[Chapter], seed: int) -> None:
    with closing(open_ledger(load(), app=app)) as handle:
        with stage.payment_provider(seed), stage.worker() as worker:
            demo = Demo(handle, worker, console)
            demo.tell(story)
        stage.keep_refused(demo.outcome.refused)
        ending.show(console, url, demo)


def _last_words(console: Console, text: str, style: str) -> None:
    with suppress(OSError):  # the terminal may be gone
        console.print(Text(text, style=style), soft_wrap=True)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())

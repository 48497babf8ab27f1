"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Answer as JSON (errors too, on stderr).")]
Tenant = Annotated[
    str | None, typer.Option("--tenant", "-t", help="The tenant. Default: JOBLEDGER_TENANT.", show_default=False)
]
Reason = Annotated[
    str, typer.Option("--reason", "-r", help="Why; recorded for ever. Manual acts need one.", show_default=False)
]
Ticket = Annotated[
    str | None, typer.Option("--ticket", help="A ticket to record beside the reason.", show_default=False)
]
JobId = Annotated[
    str, typer.Argument(metavar="ID", help="A job's id, or its last eight (or more) characters.", show_default=False)
]
JobIds = Annotated[
    list[str],
    typer.Argument(metavar="ID...", help="Ids of jobs, or their last eight (or more) characters.", show_default=False),
]
App = Annotated[
    str | None,
    typer.Option("--app", "-a", help="The application, as module or module:attribute. Default: JOBLEDGER_APP.",
                 show_default=False),
]  # fmt: skip
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=500, help="Rows of a page.")]
After = Annotated[str | None, typer.Option("--after", help="Begin after this row (from the last page's hint).",
                                           show_default=False)]  # fmt: skip

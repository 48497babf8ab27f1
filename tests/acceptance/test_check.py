"""`check`: the health of a ledger, and the conformance of a program's job types (R4.14)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cli import Cli

from .conftest import SAMPLE

VIOLATING = """
import httpx
from pydantic import BaseModel
from jobledger import App, JobContext

app = App("careless")

class Order(BaseModel):
    tenant_id: str
    api_key: str

@app.job("order.send", effects="none")
def send(context: JobContext, payload: Order) -> None:
    print("sending", payload.api_key)
    httpx.post("https://example.org")
"""


@pytest.fixture
def careless(tmp_path: Path) -> Path:
    """A program whose job type breaks several lines of the checklist."""
    (tmp_path / "careless.py").write_text(VIOLATING)
    return tmp_path


def test_a_conforming_program_has_nine_good_lines_a_type(tmp_path: Path) -> None:
    """No ledger is needed: the report is about code."""
    answer = Cli(tmp_path, None)("check", "--app", SAMPLE, "--json").json
    assert all(report["conforms"] for report in answer["types"])
    checks = {tuple(check["check"] for check in report["checks"]) for report in answer["types"]}
    assert checks == {
        ("idempotent", "tenant", "retry", "dlq", "structured_logs", "metrics", "security", "providers", "observability")
    }


def test_violations_are_named_and_the_exit_code_says_so(careless: Path) -> None:
    """Each violation stands at its line of the checklist."""
    cli = Cli(careless, None)
    (report,) = cli("check", "--app", "careless", "--json", code=1).json["types"]
    violated = {check["check"] for check in report["checks"] if not check["conforms"]}
    assert {"tenant", "structured_logs", "security", "providers"} <= violated
    text = cli("check", "--app", "careless:app", code=1).out
    assert "FAIL" in text
    assert "may not go to production" in text


def test_a_violating_type_only_runs_in_development(careless: Path, sqlite_url: str) -> None:
    """`work` and `up` refuse it in production, whatever they are asked."""
    cli = Cli(careless, sqlite_url)
    for command in ("up", "work"):
        error = cli(command, "--app", "careless", "--drain", "--json", code=1).error
        assert error["code"] == "non_conforming_type"
        assert "order.send" in error["message"]
    development = cli.with_variables(JOBLEDGER_ENV="development")
    assert development("up", "--app", "careless", "--drain", "--json").json["result"] == "drained"


def test_a_ledger_that_is_well_says_so(cli: Cli) -> None:
    """Without an application, `check` is the health check: it answers, and how far the lists are behind."""
    answer = cli("check", "--json").json
    assert answer["healthy"] is True
    assert (answer["tenants"], answer["job_types"]) == (1, 8)
    assert {projection["lag_positions"] for projection in answer["projections"]} == {0}
    said = cli("check").out
    assert "fine" in said
    assert "[" not in said


@pytest.mark.parametrize(
    ("source", "reference", "words"),
    [
        (None, "nowhere", "there is no module 'nowhere'"),
        ("x = 1", "mine", "mine:app does not exist"),
        ("app = 1", "mine:app", "mine:app is no jobledger.App"),
        ("import nothing_like_it", "mine", "No module named 'nothing_like_it'"),
        ("1 / 0", "mine", "ZeroDivisionError"),
        ("def broken(:", "mine", "SyntaxError"),
        ("from jobledger import App\na = App('a')\nb = App('b')", "mine", "mine:app does not exist"),
    ],
)
def test_an_app_that_cannot_be_loaded_says_why(tmp_path: Path, source: str | None, reference: str, words: str) -> None:
    """The working directory is searched; what fails is named without a traceback."""
    if source is not None:
        (tmp_path / "mine.py").write_text(source)
    said = Cli(tmp_path, None)("check", "--app", reference, "--json", code=2)
    assert said.error["field"] == "--app"
    assert words in said.error["message"]
    assert "Traceback" not in said.err


def test_the_only_app_of_a_module_needs_no_name(tmp_path: Path) -> None:
    """`--app mine` finds it, whatever it is called."""
    (tmp_path / "mine.py").write_text("from jobledger import App\nservice = App('mine')")
    assert Cli(tmp_path, None)("check", "--app", "mine", "--json").json == {"app": "mine", "types": []}

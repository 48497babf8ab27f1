"""Settings: what the environment may say, and what is answered where it says something else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from jobledger.domain.errors import InvalidSettings
from jobledger.infrastructure import database_url
from jobledger.infrastructure.settings import Settings, load, variable
from tests.support.repository import python_files


def refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> InvalidSettings:
    """What `load` answers with one variable set."""
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSettings) as caught:
        load()
    return caught.value


def test_the_defaults_need_no_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any variable the ledger is jobledger.db in the working directory."""
    monkeypatch.chdir(tmp_path)
    settings = load()
    assert settings.database.engine == "sqlite"
    assert settings.database.path == tmp_path / "jobledger.db"
    assert settings.env == "production"


def test_an_unknown_variable_is_named_with_the_nearest_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A typing error in a name is told, not ignored."""
    error = refused(monkeypatch, "JOBLEDGER_DATABSE", "sqlite:///x.db")
    assert error.field == "JOBLEDGER_DATABSE"
    assert error.hint == "did you mean JOBLEDGER_DATABASE?"


def test_an_unknown_variable_far_from_all_points_to_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is near, the reference is."""
    assert "settings.md" in (refused(monkeypatch, "JOBLEDGER_XYZZY", "1").hint or "")


def test_what_kubernetes_injects_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service named jobledger does not keep its own pods from starting."""
    monkeypatch.setenv("JOBLEDGER_PORT", "tcp://10.0.0.1:80")
    monkeypatch.setenv("JOBLEDGER_SERVICE_HOST", "10.0.0.1")
    assert load().tenant is None


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose files write `NAME: ""` for nothing."""
    monkeypatch.setenv("JOBLEDGER_TENANT", "")
    assert load().tenant is None


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("JOBLEDGER_CONCURRENCY", "many", "valid integer"),
        ("JOBLEDGER_CONCURRENCY", "0", "greater than or equal to 1"),
        ("JOBLEDGER_TENANT", "Not A Slug", "pattern"),
        ("JOBLEDGER_ENV", "staging", "'production' or 'development'"),
        ("JOBLEDGER_QUEUES", "billing,Ümlaut", "pattern"),
        ("JOBLEDGER_JOB_MAX_ATTEMPTS", "1001", "less than or equal to 1000"),
        ("JOBLEDGER_APP", "no spaces", "pattern"),
        ("JOBLEDGER_QUEUE_DEFAULTS", "{not json", "JSON"),
        ("JOBLEDGER_QUEUE_DEFAULTS", '{"billing": {"priority": 101}}', "less than or equal to 100"),
        ("JOBLEDGER_QUEUE_DEFAULTS", '{"billing": {"queue": "other"}}', "not permitted"),
        ("JOBLEDGER_MAINTENANCE_INTERVAL_SECONDS", "61", "less than or equal to 60"),
    ],
)
def test_a_bad_value_names_its_variable_and_the_rule(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, rule: str
) -> None:
    """One line says which variable breaks which rule."""
    error = refused(monkeypatch, name, value)
    assert error.field == name
    assert rule in str(error)
    assert "\n" not in str(error)


def test_values_that_do_not_fit_each_other_name_both_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease that would end before its renewal is refused."""
    error = refused(monkeypatch, "JOBLEDGER_LEASE_SECONDS", "5")
    assert "JOBLEDGER_LEASE_SECONDS" in str(error)
    assert "JOBLEDGER_LEASE_RENEW_BUFFER_SECONDS" in str(error)


def test_what_the_caller_says_comes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line wins; None leaves it to the environment."""
    monkeypatch.setenv("JOBLEDGER_CONCURRENCY", "3")
    assert load(concurrency=5).concurrency == 5
    assert load(concurrency=None).concurrency == 3


def test_a_queue_decides_options_of_its_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON by queue; what a queue leaves out is left to the installation."""
    monkeypatch.setenv("JOBLEDGER_QUEUE_DEFAULTS", '{"billing": {"priority": 10, "timeout_seconds": 60}}')
    options = load().queue_options
    assert set(options) == {"billing"}
    assert (options["billing"].priority, options["billing"].timeout_seconds, options["billing"].retry) == (10, 60, None)


def test_queues_are_written_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    """`billing, mail` is two queues."""
    monkeypatch.setenv("JOBLEDGER_QUEUES", "billing, mail")
    assert load().queues == ("billing", "mail")


def test_the_actor_is_never_taken_for_authenticated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a login name nor a variable proves who acts."""
    assert load().acting.name.startswith("os:")
    assert not load().acting.authenticated
    monkeypatch.setenv("JOBLEDGER_ACTOR", "ops:maria")
    assert load().acting == ("ops:maria", False)


def test_every_setting_says_its_default() -> None:
    """Each description names the default, so that the reference does."""
    for name, field in Settings.model_fields.items():
        assert "Default" in (field.description or ""), variable(name)


def test_every_setting_does_something() -> None:
    """What can be set is read somewhere: a setting without effect would be a lie."""
    sources = "".join(text for name, text in python_files() if name.startswith("infrastructure/"))
    unused = {name for name in Settings.model_fields if not re.search(rf"\b(settings|self)\.{name}\b", sources)}
    assert unused == set()


@pytest.mark.parametrize(
    ("text", "engine", "path"),
    [
        ("sqlite:///var/x.db", "sqlite", "var/x.db"),
        ("sqlite:////abs/x.db", "sqlite", "/abs/x.db"),
        ("embedded-postgres:///var/pg", "embedded-postgres", "var/pg"),
        ("postgresql://u:p@h/x", "postgresql", None),
        ("postgres://h/x", "postgresql", None),
    ],
)
def test_a_database_url_names_engine_and_place(text: str, engine: str, path: str | None) -> None:
    """Relative paths count from the working directory and become absolute."""
    url = database_url.parse(text)
    assert url.engine == engine
    assert url.path == (None if path is None else Path(path).absolute())


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("jobledger.db", "must be a URL"),
        ("mysql://h/x", "no engine 'mysql'"),
        ("sqlite://x.db", "three slashes"),
        ("sqlite:///", "must name a file"),
        ("sqlite:///:memory:", "several processes"),
        ("sqlite:///x.db?mode=ro", "no options"),
        ("postgresql://h:port/x", "port"),
    ],
)
def test_a_database_url_of_another_form_is_refused(monkeypatch: pytest.MonkeyPatch, text: str, rule: str) -> None:
    """The answer names the variable and the forms there are."""
    error = refused(monkeypatch, "JOBLEDGER_DATABASE", text)
    assert error.field == "JOBLEDGER_DATABASE"
    assert rule in str(error)


@pytest.mark.parametrize(
    "text", ["postgresql://u:s3cret@h:5432/x", "postgresql://u@h/x?password=s3cret", "mysql://u:s3cret@h/x"]
)
def test_a_password_is_never_shown(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Neither the settings nor an error about them contains it."""
    monkeypatch.setenv("JOBLEDGER_DATABASE", text)
    try:
        settings = load()
        shown = f"{settings!r} {settings} {settings.database}"
    except InvalidSettings as error:
        shown = f"{error} {error!r} {error.__cause__!r}"
    assert "s3cret" not in shown

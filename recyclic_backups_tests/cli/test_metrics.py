"""``metrics`` and ``report`` at the command line: what is printed, written and served, and how they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from recyclic_backups.health.survey import Survey
from recyclic_backups.storage.local import LocalStore
from recyclic_backups_tests.health.test_metrics import KEYS
from recyclic_backups_tests.operator import PASSPHRASE, Operator

pytestmark = pytest.mark.small


@pytest.fixture
def plenty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk with space."""
    monkeypatch.setattr(LocalStore, "free_bytes", lambda _store: 10**13)


def test_a_fresh_backup_is_healthy_and_ends_with_0(operator: Operator, plenty: None) -> None:
    """Loss prevented: monitoring that cannot tell a good morning from a bad one."""
    backup_id = operator.backup_id()
    operator.must("restore", "latest", "--into", "proof_of_metrics")
    try:
        outcome = operator.must("metrics")
    finally:
        _drop(operator, "proof_of_metrics")
    document = outcome.json
    assert {name: set(document[name]) for name in KEYS} == KEYS
    assert document["backup"]["latest_backup"] == backup_id
    assert document["health"]["health_status"] == "healthy"
    assert document["objectives"]["newest_proven"] == backup_id
    assert outcome.err == ""


def _drop(operator: Operator, name: str) -> None:
    from recyclic_backups.config.load import load_settings

    server = load_settings(operator.variables).server
    with server.connect("postgres") as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())


def test_no_key_and_no_database_is_needed(operator: Operator, plenty: None) -> None:
    """Loss prevented: no figures in the very hour in which the server is gone."""
    operator.backup_id()
    for command in (("metrics",), ("report", "--output", "page.html")):
        operator.must(*command, POSTGRES_PORT="1", BACKUP_ENCRYPTION_KEY=None, BACKUP_ENCRYPTION="false")


def test_the_last_line_of_a_report_is_in_the_language_of_its_page(operator: Operator) -> None:
    """Loss prevented: the one word that says how it stands, in a language that its reader does not have."""
    operator.storage.mkdir()
    said = operator.must("report", "--output", "page.html").err
    assert said.endswith("Unhealthy; the page is page.html\n")
    said = operator.must("report", "--output", "fr.html", BACKUP_LOCALE="fr").err
    assert said.endswith("Critique\u00a0; la page est fr.html\n")


def test_unhealthy_ends_with_80_and_still_prints_everything(operator: Operator) -> None:
    """Loss prevented: a script that takes an empty storage for a good one."""
    operator.storage.mkdir()
    for format_ in ("json", "prometheus"):
        outcome = operator.run("metrics", "--format", format_)
        assert outcome.code == 80
        assert "unhealthy" in outcome.out


def test_a_file_for_node_exporter_is_replaced_whole(operator: Operator, plenty: None) -> None:
    """Loss prevented: half a file that the collector reads, and figures that vanish for a minute."""
    operator.backup_id()
    outcome = operator.must("metrics", "--format", "prometheus", "--output", "recyclic.prom")
    assert outcome.out == ""
    text = (operator.directory / "recyclic.prom").read_text()
    assert text.startswith("# HELP recyclic_backups_up ")
    assert text.endswith("\n")
    assert not list(operator.directory.glob(".recyclic.prom*"))


@pytest.mark.parametrize("there", ["nothing", "a file"])
def test_a_storage_that_is_not_there_is_told_to_prometheus(operator: Operator, there: str) -> None:
    """Loss prevented: the figures of yesterday for as long as the disk is gone, and no alarm."""
    storage = operator.directory / "gone"
    if there == "a file":
        storage.write_text("no storage")
    target = operator.directory / "m.prom"
    target.write_text("recyclic_backups_up 1.0\n")
    asked = ("metrics", "--format", "prometheus")
    outcome = operator.run(*asked, "--output", str(target), BACKUP_STORAGE=f"file://{storage}")
    assert (outcome.code, outcome.out) == (30, "")
    assert outcome.err.startswith("error: ")
    printed = operator.run(*asked, BACKUP_STORAGE=f"file://{storage}")
    assert (printed.code, printed.out) == (30, target.read_text())
    (family,) = text_string_to_metric_families(printed.out)
    assert [(each.name, each.value) for each in family.samples] == [("recyclic_backups_up", 0.0)]
    figures = operator.run("metrics", BACKUP_STORAGE=f"file://{storage}")
    assert (figures.code, figures.document["error"]["kind"]) == (30, "storage")


def test_the_report_is_one_file_in_the_language_of_the_house(operator: Operator, plenty: None) -> None:
    """Loss prevented: a page in a language that nobody reads."""
    backup_id = operator.backup_id()
    operator.must("report", "--output", "page.html", BACKUP_LOCALE="fr")
    text = (operator.directory / "page.html").read_text(encoding="utf-8")
    assert '<html lang="fr">' in text
    assert backup_id in text
    assert PASSPHRASE not in text


@pytest.mark.parametrize(
    "arguments",
    [
        ("metrics", "--host", "0.0.0.0"),
        ("metrics", "--serve", "9187", "--output", "x"),
        ("metrics", "--serve", "70000"),
        ("metrics", "--format", "xml"),
        ("report",),
    ],
)
def test_what_makes_no_sense_is_usage(operator: Operator, arguments: tuple[str, ...]) -> None:
    """Loss prevented: an option that is silently passed over."""
    assert operator.run(*arguments).code == 2


def test_a_file_that_cannot_be_written_ends_with_30(operator: Operator) -> None:
    """Loss prevented: metrics that stopped being written, and a cron that is silent about it."""
    operator.storage.mkdir()
    outcome = operator.run("metrics", "--output", "nowhere/recyclic.prom")
    assert outcome.code == 30
    assert "cannot be written" in outcome.err


def test_served_metrics_are_measured_anew_for_each_who_asks(operator: Operator) -> None:
    """Loss prevented: a port that answers with the figures of the day it was started; one open to everybody."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    with subprocess.Popen(
        [sys.executable, "-m", "recyclic_backups", "metrics", "--serve", "0"],
        env=environment | operator.variables,
        cwd=operator.directory,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            assert line.startswith("answering on http://127.0.0.1:"), line
            url = line.split()[2]
            assert "recyclic_backups_up 0.0" in _fetch(url)
            operator.storage.mkdir()
            first = _fetch(url)
            assert "recyclic_backups_up 1.0" in first
            assert 'status="unhealthy"} 1.0' in first
            backup_id = operator.backup_id()
            assert backup_id in _fetch(url)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=20)
    assert process.returncode == 128 + signal.SIGTERM


def _fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return str(answer.read().decode())


def test_a_port_that_is_taken_is_refused_in_one_sentence(operator: Operator) -> None:
    """Loss prevented: a traceback, and a service that is restarted for ever."""
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        outcome = operator.run("metrics", "--serve", str(taken.getsockname()[1]))
    assert outcome.code == 70
    assert "can listen" in outcome.err


def test_measuring_needs_no_library_that_list_does_not_need() -> None:
    """Loss prevented: a command line that takes a second to show its help."""
    code = "import recyclic_backups.cli.commands as m, sys; m.parser(); print('prometheus_client' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "False"
    assert Survey.__doc__


def test_the_page_is_where_it_was_asked_for_absolute_or_not(operator: Operator, tmp_path: Path) -> None:
    """Loss prevented: a page written somewhere else than where the screen looks."""
    target = tmp_path / "elsewhere"
    target.mkdir()
    operator.storage.mkdir()
    operator.must("report", "--output", str(target / "page.html"))
    assert (target / "page.html").is_file()

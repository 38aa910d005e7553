"""The README, typed by somebody who believes every word of it."""

from __future__ import annotations

import ast
import configparser
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from recyclic_backups.backup_calendar import Calendar, Tier
from recyclic_backups.cli.commands import parser
from recyclic_backups.configuration import load_settings
from recyclic_backups.envelope.keyring import generate_passphrase
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups_tests.docs.pages import PROJECT, Block, block, blocks, code, pages, read
from recyclic_backups_tests.docs.reader import Reader, databases_of_the_reader, keeps_promise

README = read("README.md")
BLOCKS = blocks(README)
HOME_OF_THE_README = "/opt/recyclic_backups"

NOT_RUN = {
    "make demo": "takes Dagster a while; tested by itself, and its printed steps are compared below",
    "make test": "would run this test again",
    "make check": "would run this test again",
    'export DAGSTER_HOME="$PWD/.dagster"': "for the next two lines",
    'mkdir -p "$DAGSTER_HOME" && cp dagster.yaml "$DAGSTER_HOME/"': "for the next line; the file is there, see below",
    ".venv/bin/dagster dev -w workspace.yaml -h 127.0.0.1 -p 3000": "runs until it is stopped; its options are tried",
    "sudo systemctl enable --now recyclic-backups-daemon recyclic-backups-pages": "no systemd where tests run; "
    "the units' programs and options are tried",
}
"""Commands of the README that no test runs, and why."""


def _lines_sold(cluster: ScratchCluster, change: str = "") -> int:
    with cluster.server.connect("recyclic") as connection:
        if change:
            connection.execute(change.encode())
        row = connection.execute("SELECT count(*) FROM sale_items").fetchone()
    return int(row[0]) if row else -1


def _promised(name: str) -> str | None:
    """The output that the README shows after a block of commands."""
    position = next(number for number, each in enumerate(BLOCKS) if each.name == name)
    following = BLOCKS[position + 1 : position + 2]
    return following[0].text if following and following[0].mark == "prints" else None


@pytest.mark.typed
def test_what_the_readme_says_to_type_does_what_it_says(
    cluster: ScratchCluster, recyclic_template: str, scratch_directory: Path, tmp_path: Path
) -> None:
    """Loss prevented: a volunteer who follows the page to the letter, and gets nothing back in the end."""
    directory = tmp_path / "recyclic_backups"
    directory.mkdir()
    reader = Reader(directory)
    reader.check_out()
    server = cluster.server
    connection = {
        "POSTGRES_HOST": server.host,
        "POSTGRES_PORT": str(server.port),
        "POSTGRES_USER": server.user,
        "POSTGRES_PASSWORD": server.password,
    }
    with databases_of_the_reader(cluster, recyclic_template):
        sold = _lines_sold(cluster)
        assert sold > 0
        for each in BLOCKS:
            if each.mark == "file=.env":
                reader.write(".env", each.text, connection)
            elif each.name:
                _type(reader, each, cluster, sold, scratch_directory)
            elif each.language == "crontab":
                _try_as_cron(reader, each.text)


def _type(reader: Reader, each: Block, cluster: ScratchCluster, sold: int, scratch_directory: Path) -> None:
    """One block of commands: prepare what the README assumes, run it, look at what came of it."""
    if each.name == "elsewhere":
        _type_for_another_server(reader, each, cluster, scratch_directory)
        return
    if each.name == "replace":
        assert _lines_sold(cluster, "DELETE FROM sale_items") == 0
    if each.name == "rescue":
        reader.fills_in["the key"] = reader.setting("BACKUP_ENCRYPTION_KEY")
    if each.name == "rotate":
        former, new = reader.setting("BACKUP_ENCRYPTION_KEY"), generate_passphrase()
        dotenv = (reader.directory / ".env").read_text().replace(former, new)
        (reader.directory / ".env").write_text(f"{dotenv}BACKUP_ENCRYPTION_OLD_KEYS={former}\n")
    printed = reader.types(each.text)
    promised = _promised(each.name)
    if promised is not None:
        assert keeps_promise(promised, printed.out), f"{each.name} printed something else:\n{printed.out}"
    if each.name in ("replace", "merge"):
        assert _lines_sold(cluster) == sold, f"{each.name} did not bring the lines back"
    if each.name == "replace":
        back = re.search(r"^  (psql .* RENAME TO .*)$", printed.out, re.MULTILINE)
        assert back
        reader.types(f"export PGPASSWORD='{cluster.server.password}'; {back[1]}")
        assert _lines_sold(cluster) == 0, "going back did not bring the replaced database back"
    if each.name == "key":
        assert (reader.directory / ".env").stat().st_mode & 0o077 == 0


def _type_for_another_server(
    reader: Reader, each: Block, cluster: ScratchCluster, scratch_directory: Path
) -> None:
    with ScratchCluster.start(cluster.installation, scratch_directory) as other:
        server = other.server
        written = re.search(r"postgresql://\S+", each.text)
        assert written
        url = f"postgresql://{server.user}:{server.password}@{server.host}:{server.port}/"
        reader.fills_in[written[0]] = url
        assert reader.types(each.text).out.splitlines()[-1] == "equal"


def _try_as_cron(reader: Reader, text: str) -> None:
    """Every line as cron runs it: it must work there, and be silent, for cron mails every word."""
    calendar = load_settings({}).calendar
    expected = {
        Tier.DAILY: "backup",
        Tier.WEEKLY: "backup --tier weekly",
        Tier.MONTHLY: "backup --tier monthly",
    }
    lines = [line for line in text.splitlines() if "=" not in line.split()[0]]
    assert len(lines) == len(expected)
    for line, (tier, command) in zip(lines, expected.items(), strict=True):
        *when, rest = line.split(" ", 5)
        assert " ".join(when) == calendar.cron(tier), f"Dagster's schedule is at {calendar.cron(tier)}"
        assert "%" not in rest, "cron makes a % a new line"
        assert f"recyclic-backups {command} " in rest
        printed = reader.leaves_to_cron(rest.replace(HOME_OF_THE_README, str(reader.directory)))
        assert printed.out + printed.err == "", f"cron would mail: {printed.err}"


def test_every_block_of_the_readme_is_run_or_says_why_not() -> None:
    """Loss prevented: a command that worked when the page was written."""
    marks = re.compile(r"test=\w+|compose-test=\w+|not-run|prints|demo|systemd|file=\.env|")
    for each in BLOCKS:
        assert marks.fullmatch(each.mark), f"unknown mark: {each.mark!r}"
        assert each.mark or each.language in ("text", "crontab"), f"not marked: {each.text}"
    not_run = {line for each in BLOCKS if each.mark == "not-run" for line in each.text.splitlines()}
    assert not_run == set(NOT_RUN)


def test_the_containers_commands_are_those_that_the_compose_test_types() -> None:
    """Loss prevented: a page that was right until the scripts changed, on the evening when somebody needs it."""
    shown = {
        each.mark.removeprefix("compose-test=") for each in BLOCKS if each.mark.startswith("compose-test=")
    }
    sources = "".join(path.read_text() for path in (PROJECT / "recyclic_backups_tests/docker").glob("*.py"))
    assert shown == set(re.findall(r'stack\.types\("(\w+)"', sources))
    production = README.partition("## Put it in production tonight")[2].partition("### Without containers")[0]
    assert all(each.mark.startswith("compose-test=") for each in blocks(production))


def test_make_has_every_target_that_is_written_about() -> None:
    """Loss prevented: a first command that does not exist."""
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    for page in pages():
        named = set(re.findall(r"\bmake ([a-z-]+)\b", code(page.read_text(encoding="utf-8"))))
        assert named <= targets, f"{page.name} names make {', '.join(named - targets)}"
    options = [shlex.split(each)[0] for each in re.findall(r"make demo ARGS=(\S+|\"[^\"]+\")", code(README))]
    assert options
    for each in options:
        assert parser().parse_args(["demo", *each.strip('"').split()])


def test_the_demonstration_prints_the_steps_that_the_readme_shows() -> None:
    """Loss prevented: a newcomer who sees something else than the page and thinks that it is broken."""
    source = ast.parse((PROJECT / "recyclic_backups/cli/demo.py").read_text())
    steps = [
        _pattern(node.args[0])
        for node in ast.walk(source)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_step"
    ]
    shown = re.findall(r"^ +[\d.]+ s  (.+)$", block(README, "demo"), re.MULTILINE)
    assert len(shown) == 7
    for line in shown:
        assert any(re.fullmatch(step, line) for step in steps), f"the demonstration has no step {line!r}"
    assert block(README, "demo").splitlines()[-1] == "equal"


def _pattern(text: ast.expr) -> str:
    if isinstance(text, ast.JoinedStr):
        return "".join(_pattern(part) for part in text.values)
    return re.escape(str(text.value)) if isinstance(text, ast.Constant) else ".+"


def test_dagsters_programs_have_the_options_that_the_readme_gives_them() -> None:
    """Loss prevented: services that never start, and a schedule that nobody runs."""
    units = [each.text for each in BLOCKS if each.mark == "systemd"]
    lines = [match for text in units for match in re.findall(r"^ExecStart=(.+)$", text, re.MULTILINE)]
    assert [Path(line.split()[0]).name for line in lines] == ["dagster-daemon", "dagster-webserver"]
    tried = [
        line
        for each in BLOCKS
        if each.mark == "not-run"
        for line in each.text.splitlines()
        if "dagster dev" in line
    ]
    with ThreadPoolExecutor() as pool:
        list(pool.map(_try_options, [*lines, *tried]))
    for name in ("dagster.yaml", "workspace.yaml"):
        assert (PROJECT / name).is_file()
    (listening,) = [line for line in lines if "webserver" in line]
    assert "-h 127.0.0.1" in listening, (
        "Dagster's pages have no login: they must not be reachable from outside"
    )


def _try_options(command: str) -> None:
    """Ask the program for help after its subcommand, and look for each option that the README gives."""
    program, *arguments = shlex.split(command)
    assert program.removeprefix(f"{HOME_OF_THE_README}/").startswith(".venv/bin/")
    subcommands = [argument for argument in arguments[:1] if not argument.startswith("-")]
    asked = [str(Path(sys.prefix) / "bin" / Path(program).name), *subcommands, "--help"]
    finished = subprocess.run(asked, capture_output=True, text=True, check=True)
    for option in (argument for argument in arguments if argument.startswith("-")):
        assert re.search(rf"(^|[\s,]){option}\b", finished.stdout), f"{' '.join(asked)} knows no {option}"


def test_the_services_run_where_the_settings_are() -> None:
    """Loss prevented: a daemon that backs up nothing because it started elsewhere than where .env lies."""
    unit = configparser.ConfigParser()
    unit.read_string(next(each.text for each in BLOCKS if each.mark == "systemd"))
    assert unit["Service"]["WorkingDirectory"] == HOME_OF_THE_README
    assert unit["Service"]["Environment"] == f"DAGSTER_HOME={HOME_OF_THE_README}/.dagster"
    assert unit["Service"]["ExecStart"].startswith(f"{HOME_OF_THE_README}/.venv/bin/")


@pytest.mark.parametrize("tier", [Tier.DAILY, Tier.WEEKLY, Tier.MONTHLY])
def test_cron_times_of_the_readme_are_those_of_a_plain_calendar(tier: Tier) -> None:
    """Loss prevented: weekly labels looked for before the Sunday's backup is there."""
    calendar = Calendar(
        timezone=ZoneInfo("Europe/Paris"), start=load_settings({}).calendar.start, hour=2, minute=0
    )
    assert f"\n{calendar.cron(tier)} cd " in README

"""The README and the pages that it leads to, typed by somebody who believes every word of them."""

from __future__ import annotations

import ast
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
from recyclic_backups.config.load import load_settings
from recyclic_backups.envelope.keyring import generate_passphrase
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups_tests.docs.pages import PROJECT, Block, block, blocks, code, links, pages, read
from recyclic_backups_tests.docs.reader import Reader, databases_of_the_reader, keeps_promise

README = read("README.md")
STORY = ("docs/install.md", "docs/cron.md", "docs/restore.md", "docs/keys.md")
"""The pages that one reader types, in this order: each needs what the one before it made."""

TYPED = ("README.md", "docs/production.md", *STORY, "docs/dagster.md")
BLOCKS = {page: blocks(read(page)) for page in TYPED}
HOME_OF_THE_PAGES = "/opt/recyclic_backups"
LONGEST_README_BYTES = 8192
UNITS = PROJECT / "docker" / "systemd"

NOT_RUN = {
    "make demo": "takes Dagster a while; tested by itself, and its printed steps are compared below",
    'export DAGSTER_HOME="$PWD/.dagster"': "for the next two lines",
    'mkdir -p "$DAGSTER_HOME" && cp dagster.yaml "$DAGSTER_HOME/"': "for the next line; the file is there, see below",
    ".venv/bin/dagster dev -w workspace.yaml -h 127.0.0.1 -p 3000": "runs until it is stopped; its options are tried",
}
"""Commands of these pages that no test runs, and why."""

ON_A_HOST = ("docs/production.md",)
"""Pages whose other commands are for a host with Docker: ``make compose-test`` types those that are marked."""


def _promised(blocks_of_page: list[Block], name: str) -> str | None:
    """The output that a page shows after a block of commands."""
    position = next(number for number, each in enumerate(blocks_of_page) if each.name == name)
    following = blocks_of_page[position + 1 : position + 2]
    return following[0].text if following and following[0].mark == "prints" else None


@pytest.mark.typed
def test_what_the_pages_say_to_type_does_what_they_say(
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
        for page in STORY:
            for each in BLOCKS[page]:
                if each.mark == "file=.env":
                    reader.write(".env", each.text, connection)
                elif each.name == "elsewhere":
                    _type_for_another_server(reader, each, cluster, scratch_directory)
                elif each.name:
                    _type(reader, each, _promised(BLOCKS[page], each.name))
                elif each.language == "crontab":
                    _try_as_cron(reader, each.text)


def _type(reader: Reader, each: Block, promised: str | None) -> None:
    """One block of commands: prepare what the page assumes, run it, look at what came of it."""
    if each.name == "rotate":
        former, new = reader.setting("BACKUP_ENCRYPTION_KEY"), generate_passphrase()
        dotenv = (reader.directory / ".env").read_text().replace(former, new)
        (reader.directory / ".env").write_text(f"{dotenv}BACKUP_ENCRYPTION_OLD_KEYS={former}\n")
    printed = reader.types(each.text)
    if promised is not None:
        assert keeps_promise(promised, printed.out), f"{each.name} printed something else:\n{printed.out}"
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
        printed = reader.leaves_to_cron(rest.replace(HOME_OF_THE_PAGES, str(reader.directory)))
        assert printed.out + printed.err == "", f"cron would mail: {printed.err}"


def test_every_block_is_run_or_says_why_not() -> None:
    """Loss prevented: a command that worked when the page was written."""
    marks = re.compile(r"test=\w+|compose-test=\w+|not-run|prints|demo|file=\.env|")
    for page, found in BLOCKS.items():
        for each in found:
            assert marks.fullmatch(each.mark), f"unknown mark: {each.mark!r}"
            unmarked = each.language in ("text", "crontab") or page in ON_A_HOST
            assert each.mark or unmarked, f"not marked: {each.text}"
            assert not each.mark.startswith("test=") or page in STORY, f"nobody types this: {each.text}"
    not_run = {
        line
        for found in BLOCKS.values()
        for each in found
        if each.mark == "not-run"
        for line in each.text.splitlines()
    }
    assert not_run == set(NOT_RUN)


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    """Loss prevented: a first page that nobody reads to its end, and pages that nobody finds."""
    assert len(README.encode()) <= LONGEST_README_BYTES
    there = {
        str(path.relative_to(PROJECT))
        for folder in ("docs", "docs/runbooks")
        for path in (PROJECT / folder).glob("*.md")
    }
    assert there <= set(links(README)), f"not in the README: {sorted(there - set(links(README)))}"


def test_the_containers_commands_are_those_that_the_compose_test_types() -> None:
    """Loss prevented: a page that was right until the scripts changed, on the evening when somebody needs it."""
    marks = [each.mark for found in BLOCKS.values() for each in found]
    shown = {mark.removeprefix("compose-test=") for mark in marks if mark.startswith("compose-test=")}
    sources = "".join(path.read_text() for path in (PROJECT / "recyclic_backups_tests/docker").glob("*.py"))
    assert shown == set(re.findall(r'stack\.types\("(\w+)"', sources))
    production = README.partition("## In production")[2].partition("## Where to read on")[0]
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
    assert len(shown) == 12
    for line in shown:
        assert any(re.fullmatch(step, line) for step in steps), f"the demonstration has no step {line!r}"
    assert block(README, "demo").splitlines()[-1] == "equal"


def _pattern(text: ast.expr) -> str:
    if isinstance(text, ast.JoinedStr):
        return "".join(_pattern(part) for part in text.values)
    return re.escape(str(text.value)) if isinstance(text, ast.Constant) else ".+"


@pytest.mark.slow
def test_dagsters_programs_have_the_options_that_units_and_pages_give_them() -> None:
    """Loss prevented: services that never start, and a schedule that nobody runs."""
    units = [(UNITS / f"recyclic-backups-{name}.service").read_text() for name in ("daemon", "pages")]
    lines = [match for text in units for match in re.findall(r"^ExecStart=(.+)$", text, re.MULTILINE)]
    assert [Path(line.split()[0]).name for line in lines] == ["dagster-daemon", "dagster-webserver"]
    assert all(
        f"Environment=DAGSTER_HOME={HOME_OF_THE_PAGES}/.dagster" in text.splitlines() for text in units
    )
    tried = [line for line in NOT_RUN if "dagster dev" in line]
    with ThreadPoolExecutor() as pool:
        list(pool.map(_try_options, [*lines, *tried]))
    for name in ("dagster.yaml", "workspace.yaml"):
        assert (PROJECT / name).is_file()


def _try_options(command: str) -> None:
    """Ask the program for help after its subcommand, and look for each option that is written."""
    program, *arguments = shlex.split(command)
    assert program.removeprefix(f"{HOME_OF_THE_PAGES}/").startswith(".venv/bin/")
    subcommands = [argument for argument in arguments[:1] if not argument.startswith("-")]
    asked = [str(Path(sys.prefix) / "bin" / Path(program).name), *subcommands, "--help"]
    finished = subprocess.run(asked, capture_output=True, text=True, check=True)
    for option in (argument for argument in arguments if argument.startswith("-")):
        assert re.search(rf"(^|[\s,]){option}\b", finished.stdout), f"{' '.join(asked)} knows no {option}"


@pytest.mark.parametrize("tier", [Tier.DAILY, Tier.WEEKLY, Tier.MONTHLY])
def test_cron_times_of_the_page_are_those_of_a_plain_calendar(tier: Tier) -> None:
    """Loss prevented: weekly labels looked for before the Sunday's backup is there."""
    calendar = Calendar(
        timezone=ZoneInfo("Europe/Paris"), start=load_settings({}).calendar.start, hour=2, minute=0
    )
    assert f"\n{calendar.cron(tier)} cd " in read("docs/cron.md")

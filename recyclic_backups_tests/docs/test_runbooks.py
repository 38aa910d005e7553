"""The runbooks, followed to the letter by somebody who was woken up, on servers to which all of it really happens."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from recyclic_backups.envelope.keyring import generate_passphrase
from recyclic_backups.postgres.lsn import lsn_of
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.postgres.server import Server
from recyclic_backups_tests.docs.pages import PROJECT, Block, blocks, read, rows
from recyclic_backups_tests.docs.reader import Reader, databases_of_the_reader, keeps_promise, shape
from recyclic_backups_tests.recovery.test_command import started

ENGLISH = read("docs/runbooks/database-recovery.md")
FRENCH = read("docs/runbooks/database-recovery.fr.md")

HOME = "/opt/recyclic_backups"
BACKUPS = "/mnt/backups"
SERVER = "-h localhost -p 5432 -U postgres"
EXPORTED = "PGHOST=localhost PGPORT=5432 PGUSER=postgres PGPASSWORD='the password'"
OUTPUT = "/var/tmp/recovered"
KEPT = re.compile(r"_\d{8}t\d{6}z_[0-9a-f]{6}")


def test_both_languages_have_the_same_commands() -> None:
    """Loss prevented: a command corrected on one page, and typed wrong from the other."""
    assert blocks(FRENCH) == blocks(ENGLISH)


@pytest.mark.parametrize("page", [ENGLISH, FRENCH], ids=["en", "fr"])
def test_every_scenario_begins_with_what_to_do(page: str) -> None:
    """Loss prevented: minutes spent reading how it works, at three in the morning."""
    chapters = re.split(r"^## ", page, flags=re.MULTILINE)[1:]
    assert [chapter.split(".")[0] for chapter in chapters] == ["1", "2", "3", "4", "5", "6"]
    for chapter in chapters:
        first = chapter.split("\n")[2]
        assert first.startswith("**"), f"a chapter begins with {first!r}"


def test_every_block_is_run() -> None:
    """Loss prevented: a command that worked when the page was written."""
    for each in blocks(ENGLISH):
        assert re.fullmatch(r"test=\w+( ends=\d+)?|prints|file=\.env", each.mark), each.mark


SAID_BY_OTHERS = (
    "command not found",
    "connection failed",
    "is being accessed by other users",
    "does not exist",
    "cryptography",
    "zstd",
)
"""What a shell, PostgreSQL and Python say."""


@pytest.mark.parametrize("page", [ENGLISH, FRENCH], ids=["en", "fr"])
def test_what_the_page_quotes_is_what_the_program_says(page: str) -> None:
    """Loss prevented: a message on the screen that the page knows by other words."""
    cells = [cell for header in ("It says", "Le message") for cell, _ in rows(page, header)]
    prose = re.findall(r"^(?:It says|Le message)(?: that| dit que)? `[^`]+`", page, re.MULTILINE)
    quoted = [piece for text in (*cells, *prose) for piece in re.findall(r"`([^`]+)`", text)]
    assert len(quoted) >= 10
    house = "".join(path.read_text(encoding="utf-8") for path in (PROJECT / "recyclic_backups").rglob("*.py"))
    for message in quoted:
        for piece in message.replace(": …", "").split("…"):
            words = piece.strip().removesuffix(":")
            assert words in SAID_BY_OTHERS or words in house, f"nothing says {message!r}"


@dataclass
class Night:
    """What happens to the reader's database, chapter by chapter, and what each block has to bring back."""

    cluster: ScratchCluster
    reader: Reader
    key: str
    other: ScratchCluster
    lines_sold: int = 0
    printed: dict[str, str] = field(default_factory=dict)
    scratch: Path = Path("/tmp")
    receiver: subprocess.Popen[bytes] | None = None

    def stop_receiver(self) -> int:
        """End the receiver of WAL, if there is one."""
        if self.receiver is None:
            return 0
        self.receiver.terminate()
        return self.receiver.wait(60)

    def sold(self, change: str = "", cluster: ScratchCluster | None = None) -> int:
        """How many lines of sales there are in ``recyclic``, after a change."""
        with (cluster or self.cluster).server.connect("recyclic") as connection:
            if change:
                connection.execute(change.encode())
            row = connection.execute("SELECT count(*) FROM sale_items").fetchone()
        return int(row[0]) if row else -1

    def type(self, each: Block) -> None:
        """Let happen what the block is for, type it, and look."""
        before = getattr(self, f"_before_{each.name}", None)
        if before is not None:
            before(each)
        printed = self.reader.types(each.text, ends=each.ends)
        self.printed[each.name] = printed.out
        getattr(self, f"_after_{each.name}")(printed.out)

    # 1

    def _before_read(self, _: Block) -> None:
        with self.cluster.server.connect("postgres") as connection:
            connection.execute("DROP DATABASE recyclic")

    def _after_read(self, out: str) -> None:
        assert out == "", "a plan is no report"

    def _after_simple(self, out: str) -> None:
        assert out.splitlines()[-1] == "equal"
        assert self.sold() == self.lines_sold

    def _before_older(self, each: Block) -> None:
        (written,) = set(re.findall(r"\d{8}T\d{6}Z-[A-Z2-7]{6}", each.text))
        self.reader.fills_in[written] = self.printed["first backup"]
        assert self.sold("DELETE FROM sale_items") == 0

    def _after_older(self, out: str) -> None:
        assert self.printed["first backup"] in out
        self._after_simple(out)

    # 2

    def _before_diagnose(self, _: Block) -> None:
        lost = "DELETE FROM sale_items WHERE ctid IN (SELECT ctid FROM sale_items LIMIT 30)"
        assert self.sold(lost) == self.lines_sold - 30

    def _after_diagnose(self, out: str) -> None:
        commands = [line.strip() for line in out.splitlines() if line.startswith("  recyclic-backups ")]
        written = next(each.text for each in blocks(ENGLISH) if each.name == "merge").splitlines()[-1]
        latest = [re.sub(r"restore \S+", "restore latest", command) for command in commands]
        assert latest == [written], f"diagnose prints {commands}"

    def _after_merge(self, out: str) -> None:
        self._after_simple(out)

    def _after_healthy(self, out: str) -> None:
        assert out.splitlines()[-1] == "no damage found"

    def _after_look(self, out: str) -> None:
        assert out.splitlines()[-1] == "equal"

    # 3: from here on another machine

    def move(self) -> None:
        """What is left of the first machine goes to another one."""
        old, new = self.reader.directory, self.reader.directory.parent / "new" / "recyclic_backups"
        mounted = self.reader.directory.parent / "mounted"
        shutil.move(old / "backups", mounted)
        shutil.rmtree(old)
        new.mkdir(parents=True)
        server = self.other.server
        self.reader = Reader(
            new,
            {
                HOME: str(new),
                BACKUPS: str(mounted),
                OUTPUT: str(mounted.with_name("recovered")),
                SERVER: _where(self.other),
                EXPORTED: _exported(self.other),
                "the key": self.key,
            },
            _known(self.other),
        )
        self.reader.check_out()
        assert server.label != self.cluster.server.label

    def _after_machine(self, _: str) -> None:
        assert (self.reader.directory / ".venv/bin/recyclic-backups").exists()

    def write(self, each: Block) -> None:
        """The .env of the new machine."""
        server = self.other.server
        text = each.text
        for written, meant in self.reader.fills_in.items():
            text = text.replace(written, meant)
        connection = {"HOST": server.host, "PORT": str(server.port), "PASSWORD": server.password}
        self.reader.write(".env", text, {f"POSTGRES_{name}": value for name, value in connection.items()})

    def _after_full(self, out: str) -> None:
        assert "\nequal\n" in out
        assert out.splitlines()[-1].startswith("restore it ")
        assert self.sold(cluster=self.other) == self.lines_sold
        with self.other.server.connect("recyclic") as connection:
            granted = connection.execute(
                "SELECT has_table_privilege('recyclic_readonly', 'sales', 'SELECT')"
            ).fetchone()
        assert granted == (True,)

    # 4: to the second

    def _before_accident(self, _: Block) -> None:
        self.reader.knows["BACKUP_SCRATCH"] = str(
            self.scratch
        )  # as /tmp is: the tests' own is closed to others
        self.receiver = subprocess.Popen(
            [".venv/bin/recyclic-backups", "wal", "receive"],
            cwd=self.reader.directory,
            # A tail each second, and not each ten: the archive is waited for three times.
            env={"HOME": str(self.reader.directory.parent), "WAL_TAIL_SECONDS": "1", **self.reader.knows},
            stderr=subprocess.DEVNULL,
        )
        self.reader.types(".venv/bin/recyclic-backups base-backup --full")
        with self.other.server.connect("recyclic") as connection:
            row = connection.execute("SELECT clock_timestamp() + interval '1 s', pg_sleep(2)").fetchone()
        assert row is not None
        self.reader.fills_in["2026-11-22 14:31:07"] = row[0].isoformat()
        self.reader.fills_in["/srv/recovered"] = str(self.scratch / "recovered")
        assert self.sold("DELETE FROM sale_items", self.other) == 0
        self._archived()

    def _archived(self) -> None:
        """Wait until a moment after now can be reached."""
        with self.other.server.connect("postgres") as connection:
            row = connection.execute("SELECT pg_current_wal_flush_lsn()").fetchone()
        assert row is not None
        deadline = time.monotonic() + 120
        while True:
            out = self.reader.types(".venv/bin/recyclic-backups wal status --json").out
            position = json.loads(out)["position"]
            if position is not None and lsn_of(position["lsn"]) >= lsn_of(str(row[0])):
                return
            assert time.monotonic() < deadline
            time.sleep(0.5)

    def _after_accident(self, out: str) -> None:
        assert f"deleted {self.lines_sold} rows of public.sale_items in recyclic" in out
        # The receiver is at work: what the page about WAL shows is typed here.
        for each in blocks(read("docs/wal.md")):
            if each.language == "console":
                typed = re.sub(r"^\$ ", ".venv/bin/", each.text, flags=re.MULTILINE)
                assert self.reader.types(typed).out

    def _after_moment(self, out: str) -> None:
        assert out.splitlines()[-1] == "equal"
        assert self.sold(cluster=self.other) == self.lines_sold

    def _before_all_of_it(self, _: Block) -> None:
        assert self.sold("DELETE FROM sale_items", self.other) == 0
        self._archived()

    def _after_all_of_it(self, out: str) -> None:
        self._after_moment(out)
        self._archived()

    def _after_server(self, out: str) -> None:
        assert self.stop_receiver() == 0
        recovered = Path(self.reader.fills_in["/srv/recovered"])
        with started(shlex.split(out.splitlines()[-1]), recovered) as server:
            here = self.other.server
            with Server(server.host, server.port, here.user, here.password).connect("recyclic") as connection:
                row = connection.execute("SELECT count(*) FROM public.sale_items").fetchone()
        assert row == (self.lines_sold,)

    # 5: without the software

    def _before_where(self, _: Block) -> None:
        (self.reader.directory / ".venv").rename(self.reader.directory / ".venv-broken")
        # In this chapter the page itself says how psql finds the server.
        self.reader.knows = {"PATH": self.reader.knows["PATH"]}
        assert self.sold("DELETE FROM sale_items", self.other) == 0

    def _after_where(self, out: str) -> None:
        assert out == f"BACKUP_STORAGE=file://{self.reader.fills_in[BACKUPS]}\n"

    def _after_rescue(self, out: str) -> None:
        promised = next(each.text for each in blocks(ENGLISH) if each.mark == "prints")
        assert keeps_promise(f"…\n{promised}\n…", out), out
        commands = [line for line in out.splitlines() if line.startswith("  ")]
        self.reader.types("\n".join([f"export {EXPORTED}", *commands]))
        assert not Path(self.reader.fills_in[OUTPUT]).exists(), "the members' data are still there to be read"
        assert self.sold(cluster=self.other) == 0, "nothing has its place yet"

    def _after_inspect(self, out: str) -> None:
        assert re.search(rf"^ sale_items +\| +{self.lines_sold}$", out, re.MULTILINE), out

    def _after_aside(self, _: str) -> None:
        with self.other.server.connect("recyclic_aside"):
            pass

    def _after_place(self, _: str) -> None:
        assert self.sold(cluster=self.other) == self.lines_sold

    # 6: the wrong thing

    def _before_back(self, each: Block) -> None:
        (self.reader.directory / ".venv-broken").rename(self.reader.directory / ".venv")
        self.reader.knows = _known(self.other)
        assert (
            self.sold("DELETE FROM sale_items", self.other) == 0
        )  # the day's work, which nobody wanted to lose
        out = self.reader.types(".venv/bin/recyclic-backups restore latest --replace --yes").out
        (line,) = [line.strip() for line in out.splitlines() if "RENAME TO" in line]
        kept = KEPT.search(line)
        written = KEPT.search(each.text)
        assert kept
        assert written
        self.reader.fills_in[written[0]] = kept[0]
        meant = each.text.strip().replace(SERVER, _where(self.other)).replace(written[0], kept[0])
        assert line == meant, "restore prints another line than the page shows"
        assert self.sold(cluster=self.other) == self.lines_sold

    def _after_back(self, _: str) -> None:
        assert self.sold(cluster=self.other) == 0

    def _before_kept(self, _: Block) -> None:
        self.reader.types(".venv/bin/recyclic-backups restore latest --replace --yes")

    def _after_kept(self, out: str) -> None:
        assert any(shape(line) == "recyclic_before_KEPT" for line in out.splitlines())

    def _after_drop(self, _: str) -> None:
        with self.other.server.connect("postgres") as connection:
            left = connection.execute(
                "SELECT 1 FROM pg_database WHERE datname ~ 'recyclic_undone'"
            ).fetchone()
        assert left is None


@pytest.mark.typed
@pytest.mark.timeout(600)
def test_the_runbook_brings_everything_back(
    cluster: ScratchCluster, recyclic_template: str, scratch_directory: Path, tmp_path: Path
) -> None:
    """Loss prevented: all of it, on the one night on which the page is needed."""
    directory = tmp_path / "recyclic_backups"
    directory.mkdir()
    reader = Reader(directory, {HOME: str(directory)}, _known(cluster))
    reader.check_out()
    key = generate_passphrase()
    server = cluster.server
    lines = {
        "POSTGRES_HOST": server.host,
        "POSTGRES_PORT": server.port,
        "POSTGRES_PASSWORD": server.password,
        "BACKUP_ENCRYPTION": "true",
        "BACKUP_ENCRYPTION_KEY": key,
    }
    (directory / ".env").write_text("".join(f"{name}='{value}'\n" for name, value in lines.items()))
    with (
        databases_of_the_reader(cluster, recyclic_template),
        ScratchCluster.start(cluster.installation, scratch_directory) as other,
        ExitStack() as ending,
    ):
        night = Night(cluster, reader, key, other, scratch=scratch_directory)
        ending.callback(night.stop_receiver)
        night.lines_sold = night.sold()
        for _ in range(2):
            first = reader.types(".venv/bin/recyclic-backups backup").out
            night.printed.setdefault("first backup", first.split()[1])
        for each in blocks(ENGLISH):
            if each.name == "machine":
                night.move()
            if each.name:
                night.type(each)
            elif each.mark == "file=.env":
                night.write(each)


def _where(cluster: ScratchCluster) -> str:
    return f"-h {cluster.server.host} -p {cluster.server.port} -U {cluster.server.user}"


def _exported(cluster: ScratchCluster) -> str:
    server = cluster.server
    return f"PGHOST={server.host} PGPORT={server.port} PGUSER={server.user} PGPASSWORD='{server.password}'"


def _known(cluster: ScratchCluster) -> dict[str, str]:
    """How psql finds the server and its password, and where the programs are that match it."""
    programs = f"{Path(sys.prefix) / 'bin'}:{cluster.installation.directory}:{os.defpath}:/usr/sbin:/sbin"
    server = cluster.server
    return {
        "PGHOST": server.host,
        "PGPORT": str(server.port),
        "PGUSER": server.user,
        "PGPASSWORD": server.password,
        "PATH": programs,
    }

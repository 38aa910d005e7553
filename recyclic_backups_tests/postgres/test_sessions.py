"""How sessions begin: the same for psycopg and for programs, whatever surrounds them and whoever answers."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from psycopg import pq

from recyclic_backups.dump.globals import read_globals
from recyclic_backups.errors import DatabaseError, ProgramFailed, ProgramMissing
from recyclic_backups.postgres.opening import known_peer
from recyclic_backups.postgres.process import run
from recyclic_backups.postgres.programs import Installation, dump_argv, scripts_may_run_commands
from recyclic_backups.postgres.replication import Replication
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.postgres.server import Server
from recyclic_backups.postgres.startup import (
    as_options,
    is_of_libpq,
    own_environment,
    wants_proof,
    without_libpq_variables,
)
from recyclic_backups.restore.script import needs_psql

SECRET = "s3cr3t-of-a-superuser"

# Not as a test asks, which would get the path of a person at psql.
_connected = getattr(Server.connect, "__globals__", {})["_connect"]
_environment = getattr(Server.environment, "__globals__", {})["_environment"]


@pytest.fixture
def prepared(cluster: ScratchCluster, database: str) -> Iterator[str]:
    """A database whose settings are all that its owner can make of them."""
    role = f"owner_of_{database}"
    with cluster.server.connect("postgres") as connection:
        connection.execute(f"CREATE ROLE {role}")
        for setting in (
            f"role = '{role}'",
            "search_path = public, pg_catalog",
            "default_transaction_read_only = on",
            "statement_timeout = '1ms'",
            "lock_timeout = '1ms'",
            "idle_in_transaction_session_timeout = '1ms'",
            "idle_session_timeout = '1ms'",
            "row_security = on",
            "client_min_messages = debug5",
            "lc_monetary = 'C.UTF-8'",
            "temp_tablespaces = 'pg_default'",
        ):
            connection.execute(f"ALTER DATABASE {database} SET {setting}")
    yield database
    with cluster.server.connect("postgres") as connection:
        connection.execute(f"ALTER DATABASE {database} RESET ALL; DROP ROLE {role}")


_SHOWN = (
    "SELECT current_setting('search_path'), current_user = session_user, current_setting('transaction_read_only'),"
    " current_setting('statement_timeout'), current_setting('lock_timeout'),"
    " current_setting('idle_in_transaction_session_timeout'), current_setting('idle_session_timeout'),"
    " current_setting('row_security'), current_setting('lc_monetary'), current_setting('temp_tablespaces')"
)
_EXPECTED = ("pg_catalog", True, "off", "0", "0", "0", "0", "off", "C", "")


def test_no_setting_of_a_database_reaches_a_session_of_ours(cluster: ScratchCluster, prepared: str) -> None:
    """Attack prevented: ``ALTER DATABASE … SET``, which every owner may, decides whose functions a superuser calls."""
    with _connected(cluster.server, prepared) as connection:
        assert connection.execute(_SHOWN).fetchone() == _EXPECTED


def test_nor_a_session_of_a_program(
    cluster: ScratchCluster, installation: Installation, prepared: str
) -> None:
    """Attack prevented: the same, through pg_dump, pg_restore and psql."""
    with _connected(cluster.server, prepared):
        pass  # one comes before every program
    argv = [installation.path("psql"), "-XqAt", "-F", "|", "-c", _SHOWN]
    shown = run(argv, _environment(cluster.server, prepared), timeout_seconds=30).stdout.decode().strip()
    assert shown == "pg_catalog|t|off|0|0|0|0|off|C|"


def test_what_a_server_is_is_learnt_once(cluster: ScratchCluster, database: str) -> None:
    """Loss prevented: settings that a server does not know, at each connection, and a line in its log for each."""
    with _connected(cluster.server, database) as connection:
        peer = known_peer(cluster.server)
        assert (peer.version, peer.superuser) == (connection.info.server_version, True)
        (triggers,) = connection.execute(
            "SELECT setting FROM pg_settings WHERE name = 'event_triggers'"
        ).fetchone() or ("off",)
        assert triggers == "off"
    before = cluster.log_path.stat().st_size
    with _connected(cluster.server, database):
        pass
    assert b"FATAL" not in cluster.log_path.read_bytes()[before:]


def test_a_server_of_another_version_on_the_same_port_is_no_obstacle(
    cluster: ScratchCluster, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: no backup after an upgrade of the server until Dagster is restarted."""
    from recyclic_backups.postgres import opening
    from recyclic_backups.postgres.startup import Peer

    key = (cluster.server.host, cluster.server.port, cluster.server.user)
    for wrong in (Peer(990000, superuser=True), Peer(110000, superuser=False)):
        monkeypatch.setitem(opening._peers, key, wrong)
        with _connected(cluster.server, database) as connection:
            assert connection.execute("SHOW search_path").fetchone() == ("pg_catalog",)
            assert known_peer(cluster.server).version == connection.info.server_version


def test_libpq_finds_no_variable_of_its_own(
    cluster: ScratchCluster, database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Loss prevented: our half of a backup from one server and pg_dump's from another (PGHOSTADDR, PGSERVICE)."""
    monkeypatch.setenv("PGHOSTADDR", "127.0.0.9")
    monkeypatch.setenv("PGSERVICE", "nowhere")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "none"))
    monkeypatch.setenv("PGOPTIONS", "-c default_transaction_read_only=on")
    monkeypatch.setenv("PGTARGETSESSIONATTRS", "standby")
    monkeypatch.setenv("PG_BIN", "stays")
    with _connected(cluster.server, database) as connection:
        assert connection.execute("SHOW transaction_read_only").fetchone() == ("off",)
    assert os.environ["PGSERVICE"] == "nowhere"
    with without_libpq_variables():
        assert "PGSERVICE" not in os.environ
        assert os.environ["PG_BIN"] == "stays"
        # The command under guard is the operator's, and so is its environment.
        assert own_environment()["PGSERVICE"] == "nowhere"


def test_every_variable_that_this_libpq_knows_is_recognized() -> None:
    """Loss prevented: one that came with a newer libpq and leads our connections elsewhere."""
    known = {option.envvar.decode() for option in pq.Conninfo.get_defaults() if option.envvar}
    assert "PGHOST" in known
    assert [name for name in known if not is_of_libpq(name)] == []


def test_blanks_and_backslashes_travel_in_the_startup_packet() -> None:
    """Attack prevented: a setting that goes on in the value of another."""
    assert as_options({"a": "x y", "b": "\\", "c": ""}) == "-c a=x\\ y -c b=\\\\ -c c="


# -- whoever answers


@contextmanager
def _impostor(loot: list[bytes]) -> Iterator[int]:
    """Who has taken a server's place: speaks no TLS, and asks for the password in the clear."""

    def receive(connection: socket.socket) -> None:
        with connection:
            try:
                while True:
                    (size,) = struct.unpack(">I", connection.recv(4))
                    body = connection.recv(size - 4)
                    if size == 8 and body[:4] in (struct.pack(">I", 80877103), struct.pack(">I", 80877104)):
                        connection.sendall(b"N")
                        continue
                    connection.sendall(b"R" + struct.pack(">II", 8, 3))
                    loot.append(connection.recv(1000))
                    return
            except (OSError, struct.error):
                return

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=receive, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(None)
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("sslmode", ["prefer", "allow", "disable", "require"])
def test_the_password_is_not_told_to_whoever_asks_for_it(sslmode: str) -> None:
    """Attack prevented: a superuser's password to whoever gets the port, or is on the way and refuses TLS."""
    loot: list[bytes] = []
    with _impostor(loot) as port:
        server = Server("127.0.0.1", port, password=SECRET, sslmode=sslmode)
        with pytest.raises(DatabaseError) as raised, _connected(server, "recyclic"):
            pass
    assert SECRET.encode() not in b"".join(loot)
    assert SECRET not in str(raised.value)
    if sslmode != "require":
        assert "POSTGRES_SSLMODE=verify-full" in raised.value.hint


@pytest.mark.parametrize("sslmode", ["prefer", "require"])
def test_nor_does_the_receiver_of_wal_tell_it(sslmode: str) -> None:
    """Attack prevented: the same, of a service that connects again each time somebody cuts its line."""
    loot: list[bytes] = []
    with _impostor(loot) as port:
        server = Server("127.0.0.1", port, password=SECRET, sslmode=sslmode)
        with pytest.raises(DatabaseError) as raised, Replication.open(server):
            pass
    assert SECRET.encode() not in b"".join(loot)
    assert SECRET not in f"{raised.value} {raised.value.hint}"


def test_nor_do_programs_tell_it(installations_by_major: dict[int, Installation]) -> None:
    """Attack prevented: the same through pg_dump, from version 16 on."""
    newest = installations_by_major[max(installations_by_major)]
    if newest.major < 16:
        pytest.skip("versions: no programs here that can refuse")
    loot: list[bytes] = []
    with _impostor(loot) as port:
        environment = _environment(Server("127.0.0.1", port, password=SECRET), "recyclic")
        argv = dump_argv(newest, database="recyclic", snapshot="", lock_wait_seconds=1)
        with pytest.raises(ProgramFailed) as raised:
            run(argv, environment, timeout_seconds=30)
    assert SECRET.encode() not in b"".join(loot)
    assert "verify-full" in raised.value.hint
    assert all(SECRET not in word for word in argv)


def test_a_server_that_has_proved_who_it_is_may_ask(tmp_path: Path) -> None:
    """Loss prevented: no backup where passwords are checked by LDAP or PAM; nothing downgrades verify-full."""
    assert not wants_proof("db.example.org", "verify-full")
    assert wants_proof("db.example.org", "require")
    assert wants_proof("/tmp", "prefer")
    private = tmp_path / "run"
    private.mkdir(mode=0o755)
    assert not wants_proof(str(private), "prefer")
    protected = Server("db.example.org", sslmode="verify-full")
    assert protected.protection(knows_require_auth=True) == {"gssencmode": "disable"}
    assert _environment(protected, "x")["PGGSSENCMODE"] == "disable"


@contextmanager
def _pooler(target: Server) -> Iterator[int]:
    """A pooler as far as can be seen from outside: it shows a process id of its own making."""

    def pass_on(source: socket.socket, sink: socket.socket, *, forge: bool) -> None:
        try:
            while data := source.recv(1 << 16):
                place = data.find(b"K\0\0\0\x0c") if forge else -1
                if place >= 0:
                    data = data[: place + 5] + struct.pack(">I", 4242) + data[place + 9 :]
                sink.sendall(data)
        except OSError:
            pass
        finally:
            for each in (source, sink):
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection((target.host, target.port))
            opened.extend((client, server))
            for pair, forge in (((client, server), False), ((server, client), True)):
                threading.Thread(target=pass_on, args=pair, kwargs={"forge": forge}, daemon=True).start()

    opened: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        for each in opened:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def test_a_pooler_is_refused_before_anything_is_set(cluster: ScratchCluster, database: str) -> None:
    """Loss prevented: our search path and our lock in the sessions that the application is given next."""
    with _pooler(cluster.server) as port:
        between = Server("127.0.0.1", port, user=cluster.server.user, password=cluster.server.password)
        with (
            pytest.raises(DatabaseError, match="a connection pooler answers") as raised,
            _connected(between, database),
        ):
            pass
    assert "past the pooler" in raised.value.hint
    assert not raised.value.retryable


# -- scripts


@pytest.mark.parametrize(
    ("version", "may"),
    [
        *[
            ("17.5", True),
            ("17.6", False),
            ("15.13", True),
            ("15.18", False),
            ("13.22", False),
            ("12.22", True),
        ],
        *[("18beta2", True), ("18beta3", False), ("18.0", False), ("19beta1", False), ("17beta1", True)],
    ],
)
def test_programs_whose_scripts_run_commands_are_known(version: str, *, may: bool) -> None:
    """Attack prevented: CVE-2025-8714, by programs that nobody has updated."""
    found = Installation(Path("/none"), int(version[:2]), version, frozenset())
    assert scripts_may_run_commands(found) is may


def test_no_script_of_such_programs_is_given_to_psql() -> None:
    """Attack prevented: a name in the archive that has psql run a command on this machine, as our user."""
    with pytest.raises(ProgramMissing, match="CVE-2025-8714"):
        needs_psql(Installation(Path("/none"), 17, "17.5", frozenset()), 15)
    assert needs_psql(Installation(Path("/none"), 17, "17.6", frozenset()), 15)
    assert not needs_psql(Installation(Path("/none"), 17, "17.5", frozenset()), 17)


def test_roles_with_the_nastiest_names_are_only_names_to_psql(
    cluster: ScratchCluster, installation: Installation, tmp_path: Path
) -> None:
    """Attack prevented: a role, a comment or a setting that is a command where ``globals.sql`` is played."""
    trace = tmp_path / "trace"
    names = [
        "a\n\\! touch trace\n",
        "\\! touch trace",
        'b"; \\! touch trace\n--',
        "$recyclic$; DROP ROLE x; $recyclic$",
        "c' \\' E'\\",
        "\x1b[31mred\x1b[0m",
        "\u202eevil",
        "<script>alert(1)</script>",
        ":name :'name' :\"name\"",
        "`touch trace`",
    ]
    quoted = ['"' + name.replace('"', '""') + '"' for name in names]
    with cluster.server.connect("postgres") as connection:
        from psycopg import sql

        for name, identifier in zip(names, quoted, strict=True):
            connection.execute(f"CREATE ROLE {identifier}".encode())
            connection.execute(
                sql.SQL("COMMENT ON ROLE {} IS {}").format(sql.Identifier(name), sql.Literal(name))
            )
            connection.execute(
                sql.SQL("ALTER ROLE {} SET a.b TO {}").format(sql.Identifier(name), sql.Literal(name))
            )
        connection.execute(f"GRANT {quoted[0]} TO {quoted[1]}".encode())
        text, _ = read_globals(connection)
        drop = f"DROP ROLE {', '.join(quoted)}".encode()
        connection.execute(drop)
    script = tmp_path / "globals.sql"
    script.write_text(text)
    argv = [
        installation.path("psql"),
        "-X",
        "-q",
        "-v",
        "ON_ERROR_STOP=1",
        "-f",
        str(script),
        "-o",
        os.devnull,
    ]
    environment = {**_environment(cluster.server, "postgres"), "PATH": os.defpath}
    try:
        done = subprocess.run(argv, env=environment, capture_output=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        with cluster.server.connect("postgres") as connection:
            rows = connection.execute(
                "SELECT rolname, shobj_description(oid, 'pg_authid'), rolconfig FROM pg_roles WHERE rolname = ANY(%s)",
                (names,),
            ).fetchall()
        assert {row[0] for row in rows} == set(names)
        assert all(row[1] == row[0] and row[2] == [f"a.b={row[0]}"] for row in rows)
    finally:
        with cluster.server.connect("postgres") as connection:
            connection.execute(drop)
    assert not trace.exists()

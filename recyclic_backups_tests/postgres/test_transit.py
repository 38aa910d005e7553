"""Encryption in transit, with servers that have TLS and a certificate authority of the test's own."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from recyclic_backups.errors import DatabaseError, ProgramMissing
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.postgres.server import Server
from recyclic_backups.postgres.tls import choose_for, is_this_machine, plaintext, speaks_tls
from recyclic_backups_tests.operator import PASSPHRASE, Operator, variables_of

HOST = "localhost"


@dataclass(frozen=True)
class Encrypted:
    """A server with TLS, with a certificate for ``localhost``; who signed it, and a stranger who did not."""

    cluster: ScratchCluster
    authority: Path
    stranger: Path


@pytest.fixture(scope="module")
def encrypted(
    installations_by_major: dict[int, Installation],
    scratch_directory: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Encrypted]:
    """A server that takes no connection over TCP without TLS."""
    able = [each for each in installations_by_major.values() if speaks_tls(each)]
    wished = os.environ.get("RECYCLIC_TEST_PG_MAJOR")
    able = [each for each in able if wished is None or each.major == int(wished)] or able
    if not able:
        pytest.skip("tls: no PostgreSQL server with TLS on this machine; those of the wheel have none")
    directory = tmp_path_factory.mktemp("tls")
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(str(directory / "ca.crt"))
    stranger.cert_pem.write_to_path(str(directory / "stranger.crt"))
    with ScratchCluster.start(able[0], scratch_directory) as cluster:
        _give_certificate(cluster, authority)
        yield Encrypted(cluster, directory / "ca.crt", directory / "stranger.crt")


def _give_certificate(cluster: ScratchCluster, authority: trustme.CA) -> None:
    issued = authority.issue_cert(HOST)
    data = cluster.data_directory
    owner = data.stat()
    for name, pem in (("server.key", issued.private_key_pem), ("server.crt", issued.cert_chain_pems[0])):
        (data / name).touch(mode=0o600)
        pem.write_to_path(str(data / name))
        os.chown(data / name, owner.st_uid, owner.st_gid)
    rules = data / "pg_hba.conf"
    rules.write_text(rules.read_text().replace("\nhost ", "\nhostssl "))
    cluster.configure({"ssl": "on"})
    cluster.restart()


@pytest.fixture
def far(encrypted: Encrypted, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Operator]:
    """An operator who speaks to that server as one does across a network."""
    server = encrypted.cluster.server
    with server.connect("postgres") as connection:
        connection.execute("CREATE DATABASE recyclic")
    with server.connect("recyclic") as connection:
        connection.execute(
            "CREATE TABLE member AS SELECT n AS id, 'M' || n AS name FROM generate_series(1, 50) n"
        )
    yield Operator(
        tmp_path,
        capsys,
        {
            **variables_of(server, "recyclic"),
            "POSTGRES_HOST": HOST,
            "POSTGRES_SSLMODE": "verify-full",
            "POSTGRES_SSLROOTCERT": str(encrypted.authority),
            "BACKUP_ENCRYPTION": "true",
            "BACKUP_ENCRYPTION_KEY": PASSPHRASE,
        },
    )
    with server.connect("postgres") as connection:
        for (name,) in connection.execute(
            "SELECT datname FROM pg_database WHERE datname LIKE 'recyclic%'"
        ).fetchall():
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


def test_backup_and_restore_verify_the_server_they_speak_to(far: Operator) -> None:
    """Loss prevented: encryption that has to be switched off, or programs beside it that do without."""
    findings = {each["check"]: each for each in far.must("validate", "--json").json}
    assert findings["transit"]["status"] == "ok"
    assert "verify-full" in findings["transit"]["message"]
    backup_id = far.backup_id()
    report = far.must("restore", backup_id, "--into", "recyclic_beside", "--json").json
    assert report["comparison"]["equal"] is True
    assert far.must("show", backup_id, "--json").json["notes"] == []


def test_encryption_without_a_check_of_who_answers_is_said(far: Operator) -> None:
    """Loss prevented: a stranger in between, to whom everything is sent encrypted."""
    listed = far.must("validate", "--json", POSTGRES_SSLMODE="require", POSTGRES_SSLROOTCERT=None).json
    (finding,) = [each for each in listed if each["check"] == "transit"]
    assert finding["message"].endswith("TLS (require), but who answers is not checked")


@pytest.mark.parametrize("command", ["validate", "backup"])
def test_a_certificate_of_a_stranger_is_refused(far: Operator, encrypted: Encrypted, command: str) -> None:
    """Loss prevented: members' data told to whoever answers at the server's address."""
    outcome = far.run(command, POSTGRES_SSLROOTCERT=str(encrypted.stranger))
    assert outcome.code == 20, outcome
    assert "certificate verify failed" in outcome.out + outcome.err
    assert "POSTGRES_SSLROOTCERT" in outcome.out + outcome.err
    assert not any("manifest" in name for name in far.stored())


@pytest.mark.parametrize("command", ["validate", "backup"])
def test_a_certificate_for_another_host_is_refused(far: Operator, command: str) -> None:
    """Loss prevented: a certificate of some other server of the house taken for the database's."""
    outcome = far.run(command, POSTGRES_HOST="127.0.0.1")
    assert outcome.code == 20, outcome
    assert "does not match host name" in outcome.out + outcome.err
    assert "POSTGRES_HOST to the name in its certificate" in outcome.out + outcome.err


def test_a_server_that_wants_tls_and_a_client_that_refuses_it_are_told_apart(far: Operator) -> None:
    """Loss prevented: a search for the password when it is the encryption that is off."""
    outcome = far.run("validate", POSTGRES_SSLMODE="disable", POSTGRES_SSLROOTCERT=None)
    assert outcome.code == 20
    assert "POSTGRES_SSLMODE" in outcome.out


def test_a_client_that_wants_tls_of_a_server_without_is_told(
    cluster: ScratchCluster, database: str, operator: Operator
) -> None:
    """Loss prevented: a hint that sends somebody to restart a server that runs."""
    outcome = operator.run("validate", POSTGRES_SSLMODE="require")
    assert outcome.code == 20
    assert "POSTGRES_SSLMODE" in outcome.out


def test_loopback_and_sockets_are_this_machine() -> None:
    """Loss prevented: a warning every night about a connection that leaves nothing, until nobody reads any."""
    for address in (
        "",
        "/var/run/postgresql",
        "@abstract",
        "127.0.0.1",
        "127.9.9.9",
        "::1",
        "::ffff:127.0.0.1",
    ):
        assert is_this_machine(address), address
    for address in (
        "192.0.2.1",
        "10.0.0.1",
        "2001:db8::1",
        "fe80::1%eth0",
        "::ffff:192.0.2.1",
        "db.example.org",
    ):
        assert not is_this_machine(address), address


def test_programs_of_the_wheel_are_known_to_speak_no_tls(
    installations_by_major: dict[int, Installation],
) -> None:
    """Loss prevented: a dump that travels readable although the server and our own connection have TLS."""
    wheels = [each for each in installations_by_major.values() if "pixeltable" in str(each.directory)]
    if not wheels:
        pytest.skip("wheel: the wheel's programs are not used here: there are others of the same versions")
    assert not any(speaks_tls(each) for each in wheels)
    demanding = Server("db.example.org", sslmode="verify-full")
    with pytest.raises(ProgramMissing, match="speak no TLS, which POSTGRES_SSLMODE=verify-full demands"):
        choose_for(demanding, wheels, wheels[0].major, {"pg_dump"})
    assert choose_for(Server("db.example.org"), wheels, wheels[0].major, {"pg_dump"}) in wheels


def _address_of_this_machine() -> str:
    """An address of ours that is not loopback. Connecting a datagram socket sends nothing (udp(7))."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return ""


@pytest.fixture
def reachable(installation: Installation, scratch_directory: Path) -> Iterator[ScratchCluster]:
    """A server without TLS that is reached by the machine's own address, as by another machine."""
    address = _address_of_this_machine()
    if is_this_machine(address):
        pytest.skip("address: this machine has no address but the loopback one")
    with ScratchCluster.start(
        installation, scratch_directory, settings={"listen_addresses": f"127.0.0.1,{address}"}
    ) as cluster:
        with (cluster.data_directory / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {address}/32 scram-sha-256\n")
        cluster.restart()
        yield cluster


def test_plaintext_to_another_host_is_a_warning(
    reachable: ScratchCluster,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Loss prevented: members' names readable on every switch between here and the database, for years."""
    variables = {**variables_of(reachable.server, "postgres"), "POSTGRES_HOST": _address_of_this_machine()}
    operator = Operator(tmp_path, capsys, variables)
    (finding,) = [each for each in operator.must("validate", "--json").json if each["check"] == "transit"]
    assert finding["status"] == "warning"
    assert "is not encrypted" in finding["message"]
    assert "POSTGRES_SSLMODE=verify-full" in finding["hint"]
    backup_id = operator.backup_id()
    assert "is not encrypted" in caplog.text
    (note,) = operator.must("show", backup_id, "--json").json["notes"]
    assert "is not encrypted" in note

    caplog.clear()
    near = Operator(tmp_path, capsys, variables_of(reachable.server, "postgres"))
    (finding,) = [each for each in near.must("validate", "--json").json if each["check"] == "transit"]
    assert finding["status"] == "ok"
    near.backup_id()
    assert "is not encrypted" not in caplog.text


def test_what_an_open_connection_tells_is_believed(
    cluster: ScratchCluster, installation: Installation
) -> None:
    """Loss prevented: a verdict from the settings, when libpq fell back to plaintext without a word."""
    with cluster.server.connect("postgres") as connection:
        assert plaintext(connection, cluster.server, installation) == ""
    with cluster.server_on_socket.connect("postgres") as connection:
        assert plaintext(connection, cluster.server_on_socket, installation) == ""
    with (
        pytest.raises(DatabaseError),
        Server(HOST, cluster.server.port, sslmode="require").connect("postgres"),
    ):
        pass

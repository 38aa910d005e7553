"""The files that make the containers, read without an engine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from recyclic_backups.cli.commands import parser
from recyclic_backups.config.load import load_settings
from recyclic_backups.config.settings import SECRETS
from recyclic_backups_tests.docker import compose_run
from recyclic_backups_tests.docker.stack import not_shown
from recyclic_backups_tests.skipping import EXCEPT, SWITCH

PROJECT = Path(__file__).resolve().parents[2]
DOCKER = PROJECT / "docker"
OVERRIDES = ("compose.staging.yaml", "compose.development.yaml")
OURS = {
    "backup-code",
    "backup-daemon",
    "backup-ui",
    "backup-ui-readonly",
    "backup-pages",
    "backup-rescue",
    "backup-wal",
}
"""Services that run this project's images."""

NOT_SETTINGS = re.compile(r"DAGSTER_POSTGRES_(HOST|USER|DB|PASSWORD_FILE)|PAGES_INTERVAL_SECONDS|PYTHONPATH")


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML as Compose reads it."""


_Loader.add_constructor("!override", lambda loader, node: loader.construct_sequence(node, deep=True))


def compose(name: str) -> dict[str, Any]:
    """A compose file."""
    found: dict[str, Any] = yaml.load((DOCKER / name).read_text(encoding="utf-8"), _Loader)
    return found


def services() -> dict[str, dict[str, Any]]:
    """The services of a fresh host."""
    found: dict[str, dict[str, Any]] = compose("compose.yaml")["services"]
    return found


def settings_and_secrets() -> set[str]:
    """Every name that may be set."""
    return set(load_settings({}).public) | {f"{name}_FILE" for name in SECRETS}


def test_every_variable_that_is_passed_is_a_setting_and_none_is_forgotten() -> None:
    """Loss prevented: a retention that was set in .env, and never arrived in the container."""
    passed = set(services()["backup-code"]["environment"])
    known = settings_and_secrets()
    assert {name for name in passed - known if not NOT_SETTINGS.fullmatch(name)} == set()
    # PG_BIN: the images know where their programs are. BACKUP_CODE_SERVER_TCP: here the code server has a socket.
    assert known - SECRETS - passed - {"PG_BIN", "BACKUP_CODE_SERVER_TCP"} == set()
    for service in ("backup-pages", "backup-rescue"):
        assert passed - set(services()[service]["environment"]) <= {
            name for name in passed if name.startswith("DAGSTER_POSTGRES_")
        }


@pytest.mark.parametrize("name", OVERRIDES)
def test_overrides_change_services_that_exist_and_pass_settings(name: str) -> None:
    """Loss prevented: a staging that believes itself to be production because of a misspelt name."""
    file = compose(name)
    assert file["name"] not in {"recyclic-backups"}
    for service, changed in file["services"].items():
        assert service in services() or "image" in changed
        for variable in changed.get("environment", {}) if service in OURS else ():
            assert variable in settings_and_secrets() or NOT_SETTINGS.fullmatch(variable)
    environments = {
        each.get("environment", {}).get("BACKUP_ENVIRONMENT") for each in file["services"].values()
    }
    assert environments - {None} == {name.split(".")[1]}


def test_the_existing_names_and_the_hour_arrive_also_in_the_image() -> None:
    """Loss prevented: an image built with BACKUP_TIME=3 that backs up at 2."""
    dockerfile = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    assert services()["backup-code"]["build"]["args"]["BACKUP_TIME"] == "${BACKUP_TIME:-2}"
    assert re.search(r"^ARG BACKUP_TIME=2$", dockerfile, re.MULTILINE)
    assert "BACKUP_TIME=${BACKUP_TIME}" in dockerfile


def test_no_secret_is_in_an_environment() -> None:
    """Loss prevented: `docker inspect` shows the password of the database."""
    for name in ("compose.yaml", "compose.backup.yaml", *OVERRIDES):
        for service, each in compose(name)["services"].items():
            environment = each.get("environment", {})
            assert set(environment).isdisjoint(SECRETS), (name, service)
            for variable, value in environment.items():
                if re.search("PASSWORD|KEY|TOKEN|SECRET", variable):
                    assert variable.endswith("_FILE"), (name, service)
                    assert value.startswith("/run/secrets/")
                    assert value.removeprefix("/run/secrets/") in each["secrets"], (name, service, variable)


def test_only_who_needs_the_password_of_the_database_has_it() -> None:
    """Loss prevented: a hole in the web server opens the database and the backups."""
    holders = {name for name, each in services().items() if "postgres_password" in each.get("secrets", ())}
    # The pages pass the same settings; they have no network, and the backups read-only.
    assert holders == {"backup-code", "backup-pages", "backup-rescue", "backup-wal"}
    assert services()["backup-pages"]["network_mode"] == "none"
    assert "${BACKUP_DIRECTORY:-backups}:/backups:ro" in services()["backup-pages"]["volumes"]
    for name in ("backup-daemon", "backup-ui", "backup-ui-readonly"):
        assert services()[name]["secrets"] == ["dagster_postgres_password"]
        assert not [volume for volume in services()[name]["volumes"] if "/backups" in volume]


def test_the_receiver_of_wal_knows_what_it_needs_and_nothing_else() -> None:
    """Attack prevented: a hole in what speaks with the server all day opens the mail account and the drills' server."""
    each = services()["backup-wal"]
    assert each["secrets"] == ["postgres_password", "backup_encryption_key", "backup_encryption_old_keys"]
    passed = set(each["environment"])
    assert {name for name in passed if name.endswith("_FILE")} == {
        f"{name.upper()}_FILE" for name in each["secrets"]
    }
    assert not {name for name in passed if re.match("SMTP|NOTIFICATION|HEARTBEAT|DRILL|DAGSTER", name)}
    assert {name for name in settings_and_secrets() if name.startswith("WAL_")} <= passed
    assert each["networks"] == ["default"], "that of the database"
    assert each["volumes"] == ["${BACKUP_DIRECTORY:-backups}:/backups"]
    assert parser().parse_args(each["command"]).verb == "receive"
    assert int(each["stop_grace_period"].removesuffix("s")) >= 20, "it stores the end first"


def test_a_receiver_that_stores_nothing_is_seen_without_the_database(tmp_path: Path) -> None:
    """Loss prevented: a container that is called healthy while nothing has been received for an hour."""
    environment = {"BACKUP_STORAGE": f"file://{tmp_path}"}

    def is_healthy(**more: str) -> bool:
        command = [sys.executable, str(DOCKER / "programs/healthcheck"), "wal"]
        return subprocess.run(command, env={**environment, **more}, cwd=PROJECT, check=False).returncode == 0

    assert not is_healthy()
    position = tmp_path / "server.7423/wal/position.json"
    position.parent.mkdir(parents=True)
    position.touch()
    assert is_healthy()
    os.utime(position, (time.time() - 400,) * 2)
    assert not is_healthy()
    assert is_healthy(WAL_TAIL_SECONDS="10 min")


def test_only_the_door_is_open_and_all_else_is_bound_to_this_machine() -> None:
    """Loss prevented: Dagster's pages, where anybody may delete anything, open to a network."""
    published = {name: each["ports"] for name, each in services().items() if each.get("ports")}
    assert set(published) == {"backup-door"}
    for name in OVERRIDES:
        for service, each in compose(name)["services"].items():
            for port in each.get("ports", ()):
                assert port.startswith("127.0.0.1:") or service == "backup-door", (name, service)
    staging = compose("compose.staging.yaml")["services"]
    assert staging["backup-door"]["ports"] == ["${BACKUP_UI_ADDRESS:-0.0.0.0}:4433:8443"]
    assert staging["backup-drills"]["ports"] == ["127.0.0.1:4444:5432"]
    assert compose("compose.yaml")["networks"]["backup-inside"]["internal"]


@pytest.mark.parametrize(
    ("name", "service"),
    [("compose.yaml", name) for name in services()] + [("compose.staging.yaml", "backup-drills")],
)
def test_every_service_is_confined_and_watched(name: str, service: str) -> None:
    """Loss prevented: one container that fills the memory, the disk or the root of the host."""
    each = compose(name)["services"][service]
    assert each["read_only"] is True
    assert each["cap_drop"] == ["ALL"]
    assert each["security_opt"] == ["no-new-privileges:true"]
    assert each["ulimits"] == {"core": 0}
    assert each["logging"]["options"]["max-size"]
    assert set(each["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    if each["image"].startswith("postgres:"):
        assert "SYS_ADMIN" not in each["cap_add"]
    else:
        assert each["user"] == "${BACKUP_UID:-10001}:${BACKUP_UID:-10001}"
    if service == "backup-wal":
        assert each["profiles"] == ["wal"]
    if service == "backup-rescue":
        assert each["restart"] == "no"
        assert each["profiles"] == ["rescue"]
    else:
        assert each["restart"] == "unless-stopped"
        assert each["healthcheck"]["test"]


def test_beside_an_application_is_the_same_behind_a_profile() -> None:
    """Loss prevented: `docker compose up` of the application starts, or lacks, half of the backups."""
    file = compose("compose.backup.yaml")
    fresh = compose("compose.yaml")
    assert set(file["services"]) == set(fresh["services"])
    for name, each in file["services"].items():
        assert each["extends"]["service"] == name
        assert each.get("profiles") == (None if fresh["services"][name].get("profiles") else ["backup"])
    for name in ("backup-code", "backup-wal"):
        assert file["services"][name]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for kind in ("networks", "volumes"):
        assert set(file[kind]) == set(fresh[kind]) - {"default"}
    home = "${RECYCLIC_BACKUPS:-./recyclic_backups}/docker/"
    assert {name: each["file"].removeprefix(home) for name, each in file["secrets"].items()} == {
        name: each["file"].removeprefix("./") for name, each in fresh["secrets"].items()
    }


def test_every_secret_of_the_compose_files_is_made_by_first_run(tmp_path: Path) -> None:
    """Loss prevented: a first evening that ends with "secret not found"."""
    for name in ("first-run", ".env.example"):
        shutil.copy(DOCKER / name, tmp_path / name)
    program = [str(tmp_path / "first-run"), "--prepare"]
    first = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (first.returncode, "fill in" in first.stderr) == (10, True)
    env = tmp_path / ".env"
    filled = env.read_text(encoding="utf-8").replace(
        "POSTGRES_PASSWORD=", "POSTGRES_PASSWORD='it is $1 \"#\" x'"
    )
    env.write_text(filled + f"BACKUP_UID={os.getuid()}\n", encoding="utf-8")
    second = subprocess.run(program, capture_output=True, text=True, check=True)
    secrets = tmp_path / "secrets"
    wanted = {
        each["file"]
        for name in ("compose.yaml", *OVERRIDES)
        for each in compose(name).get("secrets", {}).values()
    }
    assert {f"./secrets/{file.name}" for file in secrets.iterdir()} == wanted
    assert {file.stat().st_mode & 0o777 for file in secrets.iterdir()} == {0o600}
    assert secrets.stat().st_mode & 0o077 == 0
    assert (secrets / "postgres_password").read_text(encoding="utf-8") == 'it is $1 "#" x'
    assert "it is" not in env.read_text(encoding="utf-8")
    key = (secrets / "backup_encryption_key").read_text(encoding="utf-8")
    assert key not in second.stdout
    values = {f"{name}_FILE": str(secrets / name.lower()) for name in SECRETS}
    settings = load_settings({**values, "BACKUP_ENCRYPTION": "true"})
    assert (settings.password, settings.encryption_key) == ('it is $1 "#" x', key)
    third = subprocess.run(program, capture_output=True, text=True, check=True)
    assert third.stdout == ""
    assert (secrets / "backup_encryption_key").read_text(encoding="utf-8") == key


def test_the_images_have_no_root_and_a_pinned_base() -> None:
    """Loss prevented: a bug in a dump that writes to the host as root."""
    dockerfile = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    stages = dict(re.findall(r"(?ms)^FROM \S+ AS (\S+)$(.*?)(?=^FROM |\Z)", dockerfile))
    assert re.search(r"^ARG BASE=python:3\.11-slim-bookworm$", dockerfile, re.MULTILINE)
    for target in ("dagster", "rescue"):
        assert re.findall(r"(?m)^USER (.*)$", stages[target]) == ["${BACKUP_UID}:${BACKUP_UID}"]
        assert '"tini", "--"' in stages[target]
        assert "HEALTHCHECK" in stages[target]
        assert "org.opencontainers.image.title" in stages[target]
    assert "--require-hashes" in stages["dagster-packages"]
    assert "--require-hashes" in stages["rescue-packages"]
    assert "dagster-packages" not in stages["rescue"]


def test_the_command_line_in_a_container_can_recover_a_server() -> None:
    """Loss prevented: at 3 a.m. an image that asks for `postgresql-15`, or a new volume that it may not write into."""
    dockerfile = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    assert {"FROM servers AS rescue", "FROM servers AS dagster"} <= set(dockerfile.splitlines())
    assert re.search(r"install -d -o recyclic -g recyclic -m 0700 .*/recovered\b", dockerfile)
    assert 'LOCALES="en_US.UTF-8' in dockerfile, "that of the official images"


def test_nothing_private_gets_into_an_image() -> None:
    """Loss prevented: the encryption key in a layer of an image that is pushed somewhere."""
    lines = (PROJECT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    assert let_in.isdisjoint({"docker", "docker/secrets", "docker/.env", ".env", "backups"})
    copied = re.findall(
        r"(?m)^COPY (?!--from)(?:--\S+ )*(.*) \S+$", (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    )
    for source in " ".join(copied).split():
        assert any(source == each or source.startswith(f"{each}/") for each in let_in), source


def _pinned(path: Path) -> dict[str, str]:
    return dict(re.findall(r"(?m)^([A-Za-z0-9_.\[\]-]+)==([^ ]+)", path.read_text(encoding="utf-8")))


def test_the_images_have_what_was_tested() -> None:
    """Loss prevented: an image with another version of the driver than the tests ran with."""
    tested = _pinned(PROJECT / "requirements.lock")
    for name in ("dagster", "rescue", "build"):
        pinned = _pinned(DOCKER / "locks" / f"{name}.lock")
        assert pinned, name
        assert pinned.items() <= tested.items(), name
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [each for each in project["dependencies"] if not each.startswith("dagster")]
    assert (DOCKER / "locks/rescue.in").read_text(encoding="utf-8").split() == [
        each.replace(" ", "") for each in wanted
    ]
    assert not [each for each in _pinned(DOCKER / "locks/rescue.lock") if each.startswith("dagster")]
    # dagster-postgres speaks with psycopg2, whatever SQLAlchemy would choose.
    assert "psycopg2-binary" in _pinned(DOCKER / "locks/dagster.lock")


def test_dagster_in_containers_is_dagster_on_a_machine_with_another_storage() -> None:
    """Loss prevented: run monitoring forgotten in one of two files, and a pool that stays occupied for ever."""
    alone = yaml.safe_load((PROJECT / "dagster.yaml").read_text(encoding="utf-8"))
    inside = yaml.safe_load((DOCKER / "dagster.yaml").read_text(encoding="utf-8"))
    # backup-code is replaced while the daemon goes on; on a machine they are one.
    assert inside["run_coordinator"].pop("config")["max_user_code_failure_retries"]
    assert {name: inside[name] for name in alone} == alone
    database = inside["storage"]["postgres"]["postgres_db"]
    assert database["scheme"] == "postgresql+psycopg2"
    assert set(database["password"]) == {"env"}
    location = yaml.safe_load((DOCKER / "workspace.yaml").read_text(encoding="utf-8"))["load_from"][0][
        "grpc_server"
    ]
    assert set(location) == {"socket", "location_name"}
    assert location["location_name"] == "recyclic_backups"
    socket = location["socket"]
    assert f'else "{socket}"' in (DOCKER / "programs/code-server").read_text(encoding="utf-8")
    assert f'"unix:{socket}"' in (DOCKER / "programs/healthcheck").read_text(encoding="utf-8")


def test_the_code_server_is_reached_through_a_private_volume_and_over_no_network() -> None:
    """Attack prevented: an application container on the database's network has the code server run its program."""
    mount = "code-socket:/run/recyclic_backups"
    holders = {
        name: volume
        for name, each in services().items()
        for volume in each.get("volumes", ())
        if volume.startswith("code-socket:")
    }
    assert holders == {
        "backup-code": mount,
        "backup-daemon": f"{mount}:ro",
        "backup-ui": f"{mount}:ro",
        "backup-ui-readonly": f"{mount}:ro",
    }
    dockerfile = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    assert "install -d -o recyclic -g recyclic -m 0700 /run/recyclic_backups" in dockerfile
    program = (DOCKER / "programs/code-server").read_text(encoding="utf-8")
    assert "--port" not in program
    assert "os.umask(0o077)" in program
    for name in ("compose.yaml", "compose.backup.yaml", *OVERRIDES):
        for service, each in compose(name)["services"].items():
            assert "BACKUP_CODE_SERVER_TCP" not in each.get("environment", {}), (name, service)
            assert service != "backup-code" or not each.get("ports"), name


def test_the_door_sends_nobody_to_a_service_that_is_not_there() -> None:
    """Loss prevented: a login that ends in "bad gateway" on the day it is needed."""
    door = (DOCKER / "nginx/nginx.conf").read_text(encoding="utf-8")
    hosts = set(re.findall(r"http://([\w-]+):3000", door))
    assert hosts == {"backup-ui", "backup-ui-readonly"}
    assert "--read-only" in services()["backup-ui-readonly"]["command"]
    assert "--read-only" not in services()["backup-ui"]["command"]
    named = set(re.findall(r"/run/secrets/(\w+)", door))
    assert named == set(services()["backup-door"]["secrets"])


def test_the_scripts_are_programs() -> None:
    """Loss prevented: "permission denied" as the first thing that anybody sees."""
    for path in (DOCKER / "first-run", *(DOCKER / "programs").iterdir()):
        assert os.access(path, os.X_OK), path
        if "python" not in path.read_text(encoding="utf-8").splitlines()[0]:
            subprocess.run(["sh", "-n", path], check=True)


def test_without_an_engine_the_compose_test_fails_unless_it_is_told_not_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Loss prevented: a stack that nobody looked at, behind exit code 0; a traceback where a sentence does."""
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    for name in (SWITCH, EXCEPT, "COMPOSE_TEST_SKIP_WITHOUT_ENGINE"):
        monkeypatch.delenv(name, raising=False)
    assert compose_run.main() == 1
    said = capsys.readouterr().out
    assert "error: there is no docker on this machine" in said
    assert "COMPOSE_TEST_SKIP_WITHOUT_ENGINE=1" in said
    monkeypatch.setenv("COMPOSE_TEST_SKIP_WITHOUT_ENGINE", "1")
    assert compose_run.main() == 0
    assert "skipped: there is no docker on this machine" in capsys.readouterr().out
    monkeypatch.setenv(SWITCH, "1")  # no other variable makes up for that one
    assert compose_run.main() == 1
    monkeypatch.setenv(EXCEPT, "engine zstd")
    assert compose_run.main() == 0


def test_what_the_compose_test_cannot_show_is_a_failure_where_a_skip_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Loss prevented: a green run in which no browser ever stood at the door, because one was not installed."""
    monkeypatch.setenv(SWITCH, "1")
    monkeypatch.delenv(EXCEPT, raising=False)
    for reason in ("chromium: none", "restart: not told how"):
        with pytest.raises(AssertionError, match=reason):
            not_shown(reason)
    monkeypatch.delenv(SWITCH)
    not_shown("chromium: none")

"""docker/systemd: units that systemd understands, that are on their page, at the hours of the schedules."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.cli.commands import parser
from recyclic_backups.config.load import load_settings
from recyclic_backups_tests.docs.pages import PROJECT, read

HOME = PROJECT / "docker" / "systemd"
UNITS = sorted(path for path in HOME.iterdir() if path.suffix in (".service", ".timer"))
SERVICES = [path for path in UNITS if path.suffix == ".service"]
DAYS = {"0": "Sun"}


def _unit(name: str) -> configparser.ConfigParser:
    # Names keep their capitals.
    # A key may come again in a unit: then its values add up.
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(read(f"docker/systemd/{name}"))
    return unit


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_services_run_as_one_unprivileged_user_and_leave_closed_files(path: Path) -> None:
    """Loss prevented: a hole in any library of ours is the whole machine, or every account reads the backups."""
    service = _unit(path.name)["Service"]
    assert service["User"] == "recyclic"
    assert service["UMask"] == "0077"
    home = service["WorkingDirectory"]
    assert home == "/opt/recyclic_backups", "where .env lies"
    # Never the program itself, which runs again tomorrow.
    written = {each.removeprefix("-") for each in service["ReadWritePaths"].split()}
    assert written <= {f"{home}/.dagster", f"{home}/backups"}
    assert (service["NoNewPrivileges"], service["ProtectSystem"]) == ("yes", "strict")
    assert service["ExecStart"].startswith("/opt/recyclic_backups/.venv/bin/")


def test_the_pages_start_nothing_for_whoever_reaches_the_loopback() -> None:
    """Attack prevented: another account, or a web page in a browser on this machine, launches and deletes runs."""
    command = shlex.split(_unit("recyclic-backups-pages.service")["Service"]["ExecStart"])
    assert "--read-only" in command
    assert command[command.index("-h") + 1] == "127.0.0.1"


EXPOSURE = {
    "daemon.service": 1.2,
    "backup@.service": 1.2,
    "alerts.service": 1.2,
    "wal.service": 1.1,
    "pages.service": 0.9,
}


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd: no systemd-analyze on this machine"
)
@pytest.mark.parametrize("name", EXPOSURE)
def test_units_are_exposed_to_no_more_than_the_page_says(name: str, tmp_path: Path) -> None:
    """Attack prevented: a line of a unit that is lost, and a broken-in run that gets further than anybody believes."""
    unit = tmp_path / f"recyclic-backups-{name}"
    shutil.copy(HOME / unit.name, unit)
    finished = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    if "unrecognized option" in finished.stderr:
        pytest.skip("systemd: this one cannot judge a file")
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", finished.stdout)
    assert found, finished.stderr
    assert float(found[1]) <= EXPOSURE[name]
    assert f"| `recyclic-backups-{name}` | {EXPOSURE[name]} |" in read("docs/systemd.md")


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_services_leave_no_core_dump_and_see_no_one_elses_processes(path: Path) -> None:
    """Attack prevented: the key in a core file, or in the environment of a process that another unit reads."""
    service = _unit(path.name)["Service"]
    assert (service["LimitCORE"], service["ProtectProc"], service["PrivateTmp"]) == ("0", "invisible", "yes")
    assert (service["CapabilityBoundingSet"], service["AmbientCapabilities"]) == ("", "")


def test_the_backup_of_each_timer_is_a_command_that_is_understood() -> None:
    """Loss prevented: a timer that fails every night with a usage message."""
    timers = [path.name.partition("@")[2].removesuffix(".timer") for path in UNITS if path.match("*@*.timer")]
    assert sorted(timers) == ["daily", "monthly", "weekly"]
    service = _unit("recyclic-backups-backup@.service")["Service"]
    for tier in timers:
        program, *arguments = shlex.split(service["ExecStart"].replace("%i", tier))
        assert Path(program).name == "recyclic-backups"
        assert parser().parse_args(arguments).tier == tier
    # What cannot get better by itself is not tried again.
    assert service["RestartPreventExitStatus"].split() == ["2", "10", "40", "41"]


def test_alerts_are_looked_for_by_a_command_that_is_understood_and_remembers_on_the_machine() -> None:
    """Loss prevented: a unit that fails every five minutes; a storage that is gone, told every five minutes."""
    service = _unit("recyclic-backups-alerts.service")["Service"]
    program, *arguments = shlex.split(service["ExecStart"])
    options = parser().parse_args(arguments)
    assert (Path(program).name, options.command, options.once) == ("recyclic-backups", "alerts", True)
    assert service["StateDirectory"] == "recyclic-backups"
    # The sensor of the daemon remembers in the same place.
    assert _unit("recyclic-backups-daemon.service")["Service"]["StateDirectory"] == "recyclic-backups"
    assert _unit("recyclic-backups-alerts.timer")["Timer"]["OnCalendar"] == "*:0/5"


def test_the_receiver_of_wal_is_started_again_and_has_the_time_to_store_the_end() -> None:
    """Loss prevented: an archive that ended on the day of a server's restart; one killed before the last seconds."""
    service = _unit("recyclic-backups-wal.service")["Service"]
    program, *arguments = shlex.split(service["ExecStart"])
    options = parser().parse_args(arguments)
    assert (Path(program).name, options.command, options.verb) == ("recyclic-backups", "wal", "receive")
    assert service["Restart"] == "always"
    # Slower than systemd's limit of five starts in ten seconds, which would end it for good.
    assert int(service["RestartSec"]) > 2
    assert not {"20", "30", "70"} & set(service["RestartPreventExitStatus"].split()), "these may pass"
    assert int(service["TimeoutStopSec"]) >= 20


@pytest.mark.parametrize("tier", [Tier.DAILY, Tier.WEEKLY, Tier.MONTHLY])
def test_timers_are_at_the_hours_of_the_schedules(tier: Tier) -> None:
    """Loss prevented: a week's label looked for before the Sunday's backup is there."""
    calendar = load_settings({}).calendar
    minute, hour, day, _, weekday = calendar.cron(tier).split()
    timer = _unit(f"recyclic-backups-backup@{tier}.timer")["Timer"]
    expected = f"*-*-{day if day == '*' else f'{int(day):02}'} {int(hour):02}:{int(minute):02}:00 {calendar.timezone}"
    assert timer["OnCalendar"] == (expected if weekday == "*" else f"{DAYS[weekday]} {expected}")
    assert timer["Persistent"] == "yes", "a machine that was off at two takes its backup when it is on"


def test_every_unit_is_on_the_page_and_the_page_names_no_other() -> None:
    """Loss prevented: a command of the page that copies or starts what is not there."""
    page = read("docs/systemd.md")
    named = set(re.findall(r"recyclic-backups-[\w@]+(?:\.service|\.timer)", page))
    assert named <= {path.name for path in UNITS}
    for path in UNITS:
        stem = path.name.replace("@.service", "@")
        assert stem in page or path.name in page, path.name


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd: no systemd-analyze on this machine"
)
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    """Loss prevented: a misspelt line that systemd ignores with a warning nobody reads."""
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("dagster-daemon", "dagster-webserver", "recyclic-backups"):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    for path in UNITS:
        (tmp_path / path.name).write_text(path.read_text().replace("/opt/recyclic_backups", str(tmp_path)))
    names = [path.name.replace("@.", "@daily.") for path in UNITS]
    finished = subprocess.run(
        ["systemd-analyze", "verify", *(str(tmp_path / name) for name in names)],
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in finished.stderr.splitlines() if "recyclic" in line]
    assert said == []

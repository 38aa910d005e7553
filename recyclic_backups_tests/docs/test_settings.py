"""docs/settings.md and .env.example against the only reader of the environment."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from recyclic_backups import configuration
from recyclic_backups.configuration import SECRETS, load_settings
from recyclic_backups_tests.docs.pages import PROJECT, files, read, rows

OF_THE_SYSTEM = {"PATH", "SSH_CONNECTION", "SUDO_USER", "DAGSTER_HOME"}


class Recorder(Mapping[str, str]):
    """An empty environment that remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


@pytest.fixture
def defaults(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Every setting that the program reads, with its default."""
    found: dict[str, str] = {}
    recorder = Recorder()

    class Reading(configuration._Reading):
        def __init__(self, _given: Mapping[str, str]) -> None:
            super().__init__(recorder)

        def read(self, name: str, default: str, parse: Any) -> Any:
            found[name] = default
            return super().read(name, default, parse)

    monkeypatch.setattr(configuration, "_Reading", Reading)
    load_settings({})
    files_of_secrets = {f"{name}_FILE" for name in SECRETS}
    return dict.fromkeys(recorder.asked - files_of_secrets - OF_THE_SYSTEM, "") | found


def documented() -> dict[str, tuple[str, bool]]:
    """Default, and whether it is marked as a secret, of each setting on the page."""
    found = {}
    for name, default, *_ in rows(read("docs/settings.md"), "Name"):
        if default.startswith("`") or not default:
            match = re.fullmatch(r"`(\w+)`( 🔒)?", name)
            assert match, f"not a setting's name: {name}"
            assert match[1] not in found, f"{match[1]} is there twice"
            found[match[1]] = (default.strip("`"), bool(match[2]))
    return found


def test_every_setting_is_documented_with_its_default(defaults: dict[str, str]) -> None:
    """Loss prevented: a setting that nobody knows, or one that does nothing and is relied upon."""
    assert {name: default for name, (default, _) in documented().items()} == defaults


def test_secrets_are_marked() -> None:
    """Loss prevented: a password in a place that shows it."""
    assert {name for name, (_, secret) in documented().items() if secret} == set(SECRETS)


def test_the_example_has_every_setting_with_its_default(defaults: dict[str, str], tmp_path: Path) -> None:
    """Loss prevented: an example that, once copied, configures something else."""
    example = read(".env.example")
    lines = re.findall(r"^#([A-Z_]+)=(.*)$", example, re.MULTILINE)
    assert dict(lines) == defaults
    assert len(lines) == len(defaults)
    # With every line made a setting it is the same configuration as none.
    copy = tmp_path / ".env"
    copy.write_text(re.sub(r"^#([A-Z_]+=)", r"\1", example, flags=re.MULTILINE))
    assert load_settings({}, dotenv=copy) == load_settings({})


def test_settings_that_change_nothing_yet_say_so() -> None:
    """Loss prevented: old backups believed to expire, a rate limit believed to hold."""
    page = read("docs/settings.md")
    _, _, section = page.partition("## Checked now")
    later = {name.split("`")[1] for name, *_ in rows(section, "Name")}
    house = "".join(
        path.read_text(encoding="utf-8") for path in files() if PROJECT / "recyclic_backups" in path.parents
    )
    used = {
        "BACKUP_RATE_LIMIT": "self.rate_limit_bytes",
        "BACKUP_LOCALE": "locale=self.locale",
        "ALERT_DISK_SPACE_WARNING": "alerts.disk_warning_bytes",
        "ALERT_DISK_SPACE_CRITICAL": "alerts.disk_critical_bytes",
        "RETENTION_DAILY": "retention.daily",
        "RETENTION_WEEKLY": "retention.weekly",
        "RETENTION_MONTHLY": "retention.monthly",
        "RETENTION_CHECKPOINT": "retention.checkpoint",
        "RETENTION_MINIMUM": "retention.minimum",
        "RETENTION_MAX_DAYS": "retention.max_days",
    }
    for name, expression in used.items():
        assert (expression in house) is (name not in later), (
            f"docs/settings.md: {name} is in the wrong section"
        )


def test_a_value_in_dotenv_is_taken_as_it_is_written(tmp_path: Path) -> None:
    """Loss prevented: a password with a $ in it that is silently another password."""
    file = tmp_path / ".env"
    file.write_text("POSTGRES_PASSWORD='p${HOME}q #1'\n")
    assert load_settings({}, dotenv=file).password == "p${HOME}q #1"

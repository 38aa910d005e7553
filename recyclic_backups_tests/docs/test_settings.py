"""docs/settings.md and .env.example against the table of settings, from which `make settings` writes them."""

from __future__ import annotations

import re
from pathlib import Path

from recyclic_backups.config.load import load_settings
from recyclic_backups.config.settings import DECLARED
from recyclic_backups_tests.docs import setting_tables
from recyclic_backups_tests.docs.pages import PROJECT, read, rows


def test_the_page_says_what_the_table_says() -> None:
    """Loss prevented: a default, or a mark of a secret, that was true a year ago."""
    page = read("docs/settings.md")
    assert setting_tables.page(page) == page, "type: make settings"
    names = [name for name, *_ in rows(page, "Name")]
    for each in DECLARED.values():
        assert (f"`{each.name}`{' 🔒' if each.secret else ''}") in names


def test_the_example_has_every_setting_with_its_default(tmp_path: Path) -> None:
    """Loss prevented: an example that, once copied, configures something else."""
    example = read(".env.example")
    assert setting_tables.example() == example, "type: make settings"
    # With every line made a setting it is the same configuration as none.
    copy = tmp_path / ".env"
    copy.write_text(re.sub(r"^#([A-Z_]+=)", r"\1", example, flags=re.MULTILINE))
    assert load_settings({}, dotenv=copy) == load_settings({})


def test_every_setting_is_used() -> None:
    """Loss prevented: old backups believed to expire, a rate limit believed to hold: a setting that nobody reads."""
    house = "".join(path.read_text(encoding="utf-8") for path in (PROJECT / "recyclic_backups").rglob("*.py"))
    unused = [
        each.name
        for field, each in DECLARED.items()
        if not re.search(rf"(settings(\(\))?|self)\.{field}\b", house)
    ]
    assert unused == []


def test_a_value_in_dotenv_is_taken_as_it_is_written(tmp_path: Path) -> None:
    """Loss prevented: a password with a $ in it that is silently another password."""
    file = tmp_path / ".env"
    file.write_text("POSTGRES_PASSWORD='p${HOME}q #1'\n")
    assert load_settings({}, dotenv=file).password == "p${HOME}q #1"

"""Settings that hold a list: written as pg_dump writes them, and mended where older backups hold them as SQL."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recyclic_backups.dump.globals import read_globals
from recyclic_backups.dump.setting_lists import quoted_text, repaired, setting_value, split_list
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.rescue import recover
from recyclic_backups.restore.database import create_missing_roles

STORED: dict[str, list[str] | None] = {
    "": [],
    '""': [""],
    '"$user", public': ["$user", "public"],
    "a,b ,  c": ["a", "b", "c"],
    '"a ""b""", c': ['a "b"', "c"],
    '"x, y"': ["x, y"],
    f'"{"n" * 100}"': ["n" * 100],
    "a b": None,
    "a,": None,
    '"a': None,
    ",a": None,
}


@pytest.mark.parametrize("stored", STORED)
def test_a_stored_list_is_taken_apart_as_the_server_does(stored: str) -> None:
    """Loss prevented: a role or database whose search path comes back as another one."""
    assert split_list(stored) == STORED[stored]


@given(st.text(st.sampled_from("ab\"' ,\\$;\t\n\u00a0é")))
def test_both_readers_write_the_same_setting(stored: str) -> None:
    """Loss prevented: a way out of last resort that gives another search path than the restore does."""
    ours, theirs = setting_value("Search_Path", stored), recover.setting_value("Search_Path", stored)
    names = split_list(stored)
    assert theirs == ", ".join(map(recover.literal, names) if names else [recover.literal(stored)])
    assert ours == ", ".join(map(quoted_text, names) if names else [quoted_text(stored)])


def _block(role: str, name: str, value: str, tag: str = "$recyclic$") -> str:
    """A role's setting as releases before this one wrote it."""
    return (
        f"DO {tag} BEGIN IF EXISTS (SELECT FROM recyclic_created_roles WHERE rolname IN ({quoted_text(role)})) "
        f'THEN ALTER ROLE "{role}" SET "{name}" TO {value}; END IF; END {tag};'
    )


MENDED = {
    '""': "''",
    '"$user", public': "'$user', 'public'",
    "a;DROP/**/ROLE/**/b": "'a;DROP/**/ROLE/**/b'",
    "'a';DROP/**/ROLE/**/b": "'''a'';DROP/**/ROLE/**/b'",
}


@pytest.mark.parametrize("value", MENDED)
@pytest.mark.parametrize("mend", [repaired, recover.repaired])
def test_the_roles_of_an_older_backup_are_mended(value: str, mend: Callable[[str], str]) -> None:
    """Loss prevented: one role with an empty search path, and no backup of its server restores.

    Attack prevented: a role's own search path, set FROM CURRENT to SQL, that ran as superuser in a restore.
    """
    first, last = _block("x", "work_mem", "'1MB'"), _block("y", "search_path", "'a', 'b'")
    text = "\n".join((first, _block("hardened", "search_path", value), last))
    done = mend(text)
    names = split_list(value) or [value]
    # recover.py writes every text as E'…'.
    mended = MENDED[value] if mend is repaired else ", ".join(map(recover.literal, names))
    assert done == "\n".join((first, _block("hardened", "search_path", mended), last))
    assert repaired(repaired(text)) == repaired(text)


@pytest.mark.parametrize("mend", [repaired, recover.repaired])
def test_what_looks_like_a_setting_within_a_comment_stays(mend: Callable[[str], str]) -> None:
    """Attack prevented: a comment of a role in which the mending itself sets quotes, and lets SQL out of them."""
    inner = _block("''", "search_path", "x").replace("'", "''")
    text = (
        "DO $recyclic_$ BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'm') THEN "
        f'CREATE ROLE "m"; COMMENT ON ROLE "m" IS \'\n{inner}\n\'; END IF; END $recyclic_$;'
    )
    assert mend(text) == text


def test_list_settings_of_roles_come_back_as_they_were(cluster: ScratchCluster) -> None:
    """Loss prevented: a restore that ends at `SET search_path TO ""`; a name cut at 63 bytes without a word."""
    path = ", ".join(f'"{name}"' for name in ("$user", "n" * 63, "a b", 'q"'.replace('"', '""')))
    settings = {
        "zq_empty": "SET search_path = ''",
        "zq_some": f"SET search_path = {path}",
        "zq_long": f"SET session_preload_libraries = '{'l' * 100}', 'b'",
    }
    query = "SELECT rolname, rolconfig FROM pg_catalog.pg_roles WHERE rolname ~ '^zq_' ORDER BY 1"
    with cluster.server.connect("postgres") as connection:
        try:
            for role, setting in settings.items():
                connection.execute(f"CREATE ROLE {role}; ALTER ROLE {role} {setting}".encode())
            connection.execute(
                "SELECT pg_catalog.set_config('search_path', 'a;DROP/**/ROLE/**/zq_long', false)"
            )
            connection.execute("CREATE ROLE zq_sly; ALTER ROLE zq_sly SET search_path FROM CURRENT")
            connection.execute("RESET search_path")
            before = connection.execute(query).fetchall()
            text, _ = read_globals(connection)
            for role in (*settings, "zq_sly"):
                connection.execute(f"DROP ROLE {role}".encode())
            assert create_missing_roles(connection, text, disarmed=False) == sorted([*settings, "zq_sly"])
            after = connection.execute(query).fetchall()
        finally:
            for role in (*settings, "zq_sly"):
                connection.execute(f"DROP ROLE IF EXISTS {role}".encode())
    assert len(after) == len(before) == 4
    assert dict(after) | {"zq_sly": None} == dict(before) | {"zq_sly": None}
    assert dict(before)["zq_sly"] == ["search_path=a;DROP/**/ROLE/**/zq_long"]
    assert dict(after)["zq_sly"] == ['search_path="a;DROP/**/ROLE/**/zq_long"']

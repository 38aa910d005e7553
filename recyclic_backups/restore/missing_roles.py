"""Roles for a backup that brings none: those that its archive names, without any rights of their own.

An adopted backup is an archive of pg_dump alone. Its objects have owners and grants, and PostgreSQL refuses both to
roles that are not there. A drill makes them on the server it restores into; for a restore a person decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from recyclic_backups.catalog.manifest import Manifest
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.postgres.server import Server
from recyclic_backups.postgres.tls import choose_for
from recyclic_backups.restore import database as databases
from recyclic_backups.restore.archive import Archive
from recyclic_backups.restore.attempt import RestoreOptions

_ROLE = r'(?:"(?:[^"]|"")+"|[a-z_][a-z0-9_$]*)'
# How pg_dump writes whom something belongs or is granted to: a line each, names quoted where they have to be.
_NAMING = re.compile(
    rf"""^(?:
      ALTER\ .*\ OWNER\ TO\ ({_ROLE});
    | (?:GRANT|REVOKE)\ .*\ (?:TO|FROM)\ ({_ROLE})(?:\ WITH\ GRANT\ OPTION)?;
    | ALTER\ DEFAULT\ PRIVILEGES\ FOR\ ROLE\ ({_ROLE})\ .*\ (?:TO|FROM)\ ({_ROLE}|PUBLIC)(?:\ WITH\ GRANT\ OPTION)?;
    | CREATE\ POLICY\ .*\ TO\ ({_ROLE}(?:,\ {_ROLE})*)(?:;|\ USING\ |\ WITH\ CHECK\ )
    | CREATE\ USER\ MAPPING\ FOR\ ({_ROLE})\ SERVER\ .*
    | SET\ SESSION\ AUTHORIZATION\ ({_ROLE});
    )""",
    re.MULTILINE | re.VERBOSE,
)
_NOBODY = frozenset({"public", "none", "current_user", "current_role", "session_user", "user"})

_MOST_ROLES = 5000
"""A forged archive may name any number; a server of people has far fewer."""


def named_in(script: str) -> Iterator[str]:
    """The roles that the SQL of an archive names, in its order. Pure.

    A line of a function's body may look like such a statement: then a role more is named.
    """
    for found in _NAMING.finditer(script):
        for names in found.groups():
            for name in re.findall(_ROLE, names or ""):
                if name.startswith('"'):
                    yield name[1:-1].replace('""', '"')
                elif name not in _NOBODY:
                    yield name


def create_named_roles(
    repository: Repository, manifest: Manifest, server: Server, options: RestoreOptions
) -> list[str]:
    """Create the missing roles that a backup without globals names; returns their names.

    They may not log in and have no attributes. Raises DamagedData, NoUsableKey, DatabaseError, ProgramMissing.
    """
    if any(item.role == "globals" for item in manifest.objects):
        return []
    archive = Archive(
        repository=repository,
        manifest=manifest,
        installation=choose_for(
            server, options.installations, manifest.archive_major, {"pg_restore", "pg_dump"}
        ),
        server=server,
        database="",
        no_owner=False,
        timeout_seconds=options.timeout_seconds,
    )
    script = "\n".join(archive.text_of(section) for section in ("pre-data", "post-data"))
    facts = manifest.server
    of_database = [facts.owner, *(each["role"] for each in facts.settings if "role" in each)]
    wanted = [name for name in (*of_database, *named_in(script)) if name]
    created = []
    with databases.maintenance(server) as connection:
        for name in list(dict.fromkeys(wanted))[:_MOST_ROLES]:
            if databases.create_role_without_rights(connection, name):
                created.append(name)
    return created

"""Where what a superuser makes in a restore reaches code of others: asked of the restored catalog, right before.

While a superuser works nobody else has a session (:meth:`recyclic_backups.restore.loaders.Loaders.absent`), so that
the answers hold.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from recyclic_backups.errors import Refused
from recyclic_backups.postgres.programs import Section
from recyclic_backups.restore.archive import Archive
from recyclic_backups.restore.contents import Entry, definition_of, mentioning
from recyclic_backups.restore.entry_attempts import EntryMaker, Missing
from recyclic_backups.restore.loaders import TRUST_HINT
from recyclic_backups.restore.owners import (
    Roles,
    Tables,
    attached_with_code_of_others,
    cast_by_others,
    computed_with_code_of_others,
    has_foreign_casts,
    named_before_others,
    objects_of_others,
    planned_with_code_of_others,
)

# What a superuser may make of somebody else's table, or of a partition of it.
_KINDS = frozenset({"TABLE ATTACH", "INDEX ATTACH", "INDEX", "CONSTRAINT", "FK CONSTRAINT", "TRIGGER"})
_BY_KEYS = frozenset({"TABLE ATTACH", "TRIGGER"})
_CODE = frozenset({"FUNCTION", "PROCEDURE", "DOMAIN"})
# Which functions, operators and casts their texts name is looked up when they are made.
_NAMING = frozenset({
    "TABLE", "VIEW", "MATERIALIZED VIEW", "INDEX", "CONSTRAINT", "CHECK CONSTRAINT", "DEFAULT", "RULE", "TRIGGER",
    "POLICY", "DOMAIN", "AGGREGATE", "STATISTICS", "FOREIGN TABLE", "FUNCTION", "PROCEDURE",
})  # fmt: skip
# What others are called by, where a catalog has several kinds.
_CALLED = {
    "PROCEDURE": "FUNCTION", "AGGREGATE": "FUNCTION", "VIEW": "TABLE", "MATERIALIZED VIEW": "TABLE",
    "SEQUENCE": "TABLE", "FOREIGN TABLE": "TABLE", "DOMAIN": "TYPE", "SHELL TYPE": "TYPE",
}  # fmt: skip
FILLED = "MATERIALIZED VIEW DATA"
"""The kind of an entry that fills a materialized view."""

# There are none yet, but for those of extensions, as long as nobody made one on purpose.
_TRIGGERS = """
    SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), t.tgname FROM pg_catalog.pg_trigger t
    JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_roles r ON r.oid = c.relowner
    WHERE r.rolsuper AND NOT t.tgisinternal AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_depend d WHERE d.deptype = 'e'
          AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid)
"""


@dataclass
class Reach:
    """What a superuser's entries of an archive would run. Without ``guards`` nothing is asked. Raises DatabaseError."""

    maker: EntryMaker
    guards: bool
    roles: Roles = field(default_factory=lambda: Roles({}, {}))
    tables: Tables = field(default_factory=lambda: Tables([], foreign_casts=False))
    not_filled: list[Missing] = field(default_factory=list)
    """Materialized views that stay empty."""

    @property
    def _archive(self) -> Archive:
        return self.maker.archive

    def require_own(self, section: Section, entries: Sequence[Entry]) -> None:
        """Raises Refused for what a superuser made of others' tables, if it would run their code as the superuser."""
        if not self.guards:
            return
        kinds = _KINDS.intersection(entry.kind for entry in entries)
        reached = frozenset[int]()
        if kinds:
            asked = attached_with_code_of_others if kinds & _BY_KEYS else planned_with_code_of_others
            with self._archive.connect() as connection:
                names = asked(connection, self._archive.manifest.server.encoding)
            if names:
                reached = mentioning(self.maker.entries(section), self.maker.text_of(section), names)
        self.require_meant(section, [entry for entry in entries if not self.roles.is_foreign(entry)])
        for entry in entries:
            if (entry.kind in kinds and entry.number in reached) or self._checks_with_code(entry):
                raise Refused(
                    f"{entry.kind} {entry.rest}: a superuser's, and making it may call a function of another owner",
                    TRUST_HINT,
                )

    def is_own(self, section: Section, entry: Entry) -> bool:
        """Whether :meth:`require_own` lets a superuser make this."""
        try:
            self.require_own(section, [entry])
        except Refused:
            return False
        return True

    def require_no_triggers(self) -> None:
        """Raises Refused if a superuser's rows would set off a trigger while they are loaded.

        Who may have triggers on his table may have made one since the grants were given, and its code would be the
        superuser's.
        """
        if not self.guards:
            return
        with self._archive.connect() as connection:
            found = connection.execute(_TRIGGERS.encode()).fetchone()
        if found is not None:
            raise Refused(
                f"while the database was restored, somebody's code made a trigger {found[1]!r} on a superuser's table"
                f" ({found[0]}): its rows are not loaded",
                TRUST_HINT,
            )

    def without_filled_by_others(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Without the rows of a superuser's materialized views that would run somebody's functions as the superuser."""
        if not self.guards or all(entry.kind != FILLED for entry in entries):
            return entries
        with self._archive.connect() as connection:
            computed = computed_with_code_of_others(connection, self._archive.manifest.server.encoding)
        reason = f"it is a superuser's, and filling it would run functions of others as the superuser; {TRUST_HINT}"
        self.not_filled += [
            self.maker.missing("post-data", entry, reason) for entry in entries if entry.rest in computed
        ]
        return [entry for entry in entries if entry.rest not in computed]

    def require_meant(self, section: Section, entries: Sequence[Entry], owner: str = "") -> None:
        """Raises Refused where a text of the ``owner``'s (empty: a superuser's) may mean somebody else's function.

        Which functions a text names is looked up anew, and somebody may have put his before the one that was meant.
        """
        naming = [entry for entry in entries if entry.kind in _NAMING]
        if not (self.guards and naming and self._owners - {owner}):
            return
        with self._archive.connect() as connection:
            encoding = self._archive.manifest.server.encoding
            names = named_before_others(connection, encoding, owner)
            types = cast_by_others(connection, encoding, owner)
        if not (names or types):
            return
        named = mentioning(self.maker.entries(section), self.maker.text_of(section), names, types)
        for entry in naming:
            if entry.number in named:
                raise Refused(
                    f"{entry.kind} {entry.rest}: what it calls may by now be a function of another owner with the same "
                    "name, or a cast of his",
                    TRUST_HINT,
                )

    @cached_property
    def _owners(self) -> set[str]:
        """Whoever is no superuser and owns something, as far as it has an owner that is known here."""
        owners = {self.roles.owner_of(each) for each in self.maker.entries("pre-data")}
        return {each for each in owners if each}

    def require_known(self, stands_for_owner: str) -> None:
        """Raises Refused if strangers own something that the archive does not have, or not as theirs.

        Their code made it while the database was restored, where somebody else's texts and functions would find it.
        ``stands_for_owner`` is the role that owns for the time what is of pg_database_owner.
        """
        if not self.guards:
            return
        encoding = self._archive.manifest.server.encoding
        with self._archive.connect() as connection:
            for kind, name, owner, came_along in objects_of_others(connection, encoding, stands_for_owner):
                listed = self._listed.get(kind, [])
                begins, whole = (f"{text} ".replace('"', "") for text in (name, f"{name} {owner}"))
                if _first(listed, whole) == whole:
                    continue
                if not came_along or _first(listed, begins).startswith(begins):
                    raise Refused(
                        f"somebody's code made {name!r} while the database was restored, and it belongs to {owner!r}:"
                        " it is not so in the backup, and what looks for names there would run it",
                        TRUST_HINT,
                    )

    @cached_property
    def _listed(self) -> dict[str, list[str]]:
        """What the archive has, by kind: schema, name and owner, without quotes and in order."""
        found: dict[str, list[str]] = {}
        for each in self.maker.entries("pre-data"):
            rest = each.rest
            if each.kind == "AGGREGATE":
                rest = f"{rest.partition('(')[0]}({rest.rpartition(')')[2]}"
            found.setdefault(_CALLED.get(each.kind, each.kind), []).append(f"{rest} ".replace('"', ""))
        return {kind: sorted(names) for kind, names in found.items()}

    def _checks_with_code(self, constraint: Entry) -> bool:
        """Whether a superuser's constraint may call code of others when it is put to the rows."""
        if constraint.kind not in ("FK CONSTRAINT", "CHECK CONSTRAINT"):
            return False
        table = self.tables.of(constraint)
        if constraint.kind == "FK CONSTRAINT":
            # Of a foreign key, only a cast can be somebody's code: operators are those of a superuser's classes. But
            # its rows are found by a query, and planning that computes the constants in indexes of both tables.
            with self._archive.connect() as connection:
                foreign_casts = has_foreign_casts(connection)  # by now, whatever was there before the rows
            return foreign_casts and (table is None or table.foreign_code or not table.superuser)
        if table is None:  # of a domain or a foreign table
            return self._has_foreign_code and not self._reads_no_row(constraint)
        return table.foreign_code

    @property
    def _has_foreign_code(self) -> bool:
        return self.tables.foreign_casts or any(
            entry.kind in _CODE and self.roles.is_foreign(entry) for entry in self.maker.entries("pre-data")
        )

    def _reads_no_row(self, constraint: Entry) -> bool:
        _, text = definition_of(self.maker.text_of("post-data"), constraint.number)
        return text.endswith(") NOT VALID;")  # nothing that is quoted ends so


def _first(listed: Sequence[str], text: str) -> str:
    """The first of what is in order that is not before a text."""
    place = bisect_left(listed, text)
    return listed[place] if place < len(listed) else ""

"""Make entries of an archive one after the other; those that cannot be made are put aside and can be tried again."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from recyclic_backups.catalog.fields import Document
from recyclic_backups.catalog.manifest import BackupObject
from recyclic_backups.dump.setting_lists import setting_value
from recyclic_backups.errors import ProgramFailed
from recyclic_backups.postgres.programs import Section, scripts_may_run_commands
from recyclic_backups.postgres.server import Server
from recyclic_backups.restore.archive import Archive
from recyclic_backups.restore.contents import Entry, definition_of
from recyclic_backups.restore.loaders import DATABASE_OWNER, TRUST_HINT, Loaders
from recyclic_backups.restore.owners import read_schemas

# What a name without a schema leads to under an empty search path.
_NOT_FOUND = re.compile(r"does not exist|could not (?:identify|find) ", re.IGNORECASE)
# Nothing that another order or path could mend: the server or its disk is at its end.
_OF_THE_SERVER = re.compile(
    r"no space left|out of (?:shared )?memory|could not (?:extend|open|write|read|fsync) ", re.I
)
_LIBRARY = re.compile(r"(?:could not (?:access|load) |incompatible )(?:file|library) ", re.IGNORECASE)
_LIBRARY_HINT = (
    "install the library on this server as it was on the other one; a drill's throwaway server sees what is below "
    "/usr/lib, /usr/local/lib and its own programs"
)
# What a server says to a role that lacks a right. Somebody's code may say it too: nothing but a hint follows from it.
_RIGHTS = re.compile(r"permission denied|must be (?:owner|superuser|member)|must have ", re.I)
_RIGHTS_HINT = (
    "it is made with its owner's rights alone: give them at the source, or make a superuser its owner; "
    + TRUST_HINT
)
_OTHERS_HINT = "the backup is whole: --table restores other tables without this one"


@dataclass(frozen=True, slots=True)
class Missing(Document):
    """An object that could not be made. ``name`` is what fingerprints call it, ``statement`` the SQL that makes it."""

    name: str
    reason: str
    statement: str


class Make(Protocol):
    """Makes entries (None: all) of an archive, if need be with a search path. Raises ProgramFailed."""

    def __call__(self, *, entries: Sequence[int] | None, search_path: str = "") -> None:
        """Make them."""


@dataclass(frozen=True, slots=True)
class Aside:
    """An entry that could not be made yet, how to make it, and why not.

    With ``own_rights`` whoever makes it logged in with the rights of one owner, and may use any search path.
    """

    section: Section
    item: BackupObject
    entry: Entry
    make: Make
    own_rights: bool
    failed: ProgramFailed

    @property
    def lacks_a_name(self) -> bool:
        """Whether it failed at a name that is written without its schema, as far as the complaint tells."""
        return _NOT_FOUND.search(self.failed.complaint) is not None


@dataclass(slots=True)
class EntryMaker:
    """Makes entries of one archive, by turns with the rights of whoever is named. Raises what Archive raises.

    Each entry is a transaction of its own: where one fails, those before it are made, and it is put aside.
    """

    archive: Archive
    loaders: Loaders | None
    aside: list[Aside] = field(default_factory=list)
    lends_schemas: bool = False
    """Whether owners may look into schemas of others in which no function has a power that they lack."""
    _texts: dict[Section, str] = field(default_factory=dict)
    _listed: dict[tuple[Section, str], list[Entry]] = field(default_factory=dict)

    def entries(self, section: Section, item: BackupObject | None = None) -> list[Entry]:
        """What the main archive contains, or that of one table, read once."""
        item = item or self.archive.manifest.main
        if (section, item.name) not in self._listed:
            self._listed[section, item.name] = self.archive.entries(section, item)
        return self._listed[section, item.name]

    def text_of(self, section: Section) -> str:
        """The SQL of a section of the main archive (:meth:`Archive.text_of`), read once."""
        if section not in self._texts:
            self._texts[section] = self.archive.text_of(section)
        return self._texts[section]

    def make(
        self,
        section: Section,
        entries: Sequence[int] | None,
        item: BackupObject | None = None,
        only: Sequence[str] = (),
        *,
        server: Server | None = None,
        on_bytes: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Make entries (None: all) of an archive; those that cannot be made are put aside."""
        item = item or self.archive.manifest.main
        server = server or self.archive.server

        def make(*, entries: Sequence[int] | None, search_path: str = "") -> None:
            self.archive.run(
                section,
                item,
                only,
                entries=entries,
                server=server,
                search_path=search_path,
                on_bytes=on_bytes,
            )

        self._run(section, item, entries, make, own_rights=server is not self.archive.server)

    def make_as(self, section: Section, entries: Sequence[int], owner: str, *, as_owner: bool) -> None:
        """Entries of ``owner``, by a session that logged in with his rights, as himself or as a member of him."""

        def make(*, entries: Sequence[int] | None, search_path: str = "") -> None:
            assert self.loaders is not None
            # What is of pg_database_owner is for the time of the role that logs in.
            itself = as_owner and owner != DATABASE_OWNER
            schemas = self._schemas_of(section, entries or ())
            try:
                with self.loaders.creating(owner, schemas, as_owner=itself, lending=self.lends_schemas):
                    self.archive.run(
                        section,
                        self.archive.manifest.main,
                        [f"--role={owner}"] if itself else ["--no-owner"] if owner == DATABASE_OWNER else [],
                        entries=entries,
                        server=self.loaders.of(owner),
                        search_path=search_path,
                    )
            except ProgramFailed as failed:
                if not failed.retryable and _RIGHTS.search(failed.complaint):
                    failed.hint = _RIGHTS_HINT
                raise

        self._run(section, self.archive.manifest.main, entries, make, own_rights=True)

    def _run(
        self,
        section: Section,
        item: BackupObject,
        entries: Sequence[int] | None,
        make: Make,
        *,
        own_rights: bool,
    ) -> None:
        while entries is None or entries:
            try:
                make(entries=entries)
            except ProgramFailed as failed:
                if not _is_of_an_entry(failed, section):
                    raise
                listed = {entry.number: entry for entry in self.entries(section, item)}
                entries = list(listed) if entries is None else entries
                claimed = failed.claimed_entries.intersection(entries, listed)
                if not claimed or (section == "data" and len(claimed) > 1):
                    raise
                # Of several the first: what is made twice fails aloud, what is passed over would be missing silently.
                entry = listed[min(claimed, key=entries.index)]
                self.aside.append(Aside(section, item, entry, make, own_rights, failed))
                # Each entry is a transaction of its own: those before it are made. But pg_restore gives grants when
                # everything else of its list is there.
                place = entries.index(entry.number)
                before, after = entries[:place], entries[place + 1 :]
                entries = (
                    [number for number in after if listed[number].is_grant]
                    if entry.is_grant
                    else [*(number for number in before if listed[number].is_grant), *after]
                )
            else:
                return

    def _schemas_of(self, section: Section, numbers: Sequence[int]) -> frozenset[str]:
        """The schemas of entries, as the connection names them.

        Of an entry whose listed schema and name can be read in two ways, none: its owner's own rights have to do.
        """
        with self.archive.connect() as connection:
            schemas = read_schemas(connection, self.archive.manifest.server.encoding)
        found = set[str]()
        for entry in self.entries(section):
            if entry.number in numbers:
                fitting = [schema for listed, schema in schemas if entry.rest.startswith(f"{listed} ")]
                found.update(fitting if len(fitting) == 1 else ())
        return frozenset(found)

    def still_aside(self, each: Aside, search_path: str = "") -> Aside | None:
        """None if an entry can be made by now, if need be with a search path (as SQL); else it, and why not."""
        try:
            each.make(entries=[each.entry.number], search_path=search_path)
        except ProgramFailed as failed:
            if failed.retryable or _OF_THE_SERVER.search(failed.message):
                raise
            return replace(each, failed=failed)
        return None

    def paths_of_source(self) -> list[str]:
        """Search paths that the source's sessions had, as SQL; none where a script could make psql run commands."""
        if scripts_may_run_commands(self.archive.installation):
            return []
        found = [
            setting_value("search_path", str(setting["value"]))
            for setting in self.archive.manifest.server.settings
            if setting["name"] == "search_path"
        ]
        return list(dict.fromkeys([*found, "'$user', 'public'"]))

    def missing(self, section: Section, entry: Entry, reason: str) -> Missing:
        """What is told of a definition that could not be made."""
        name, statement = definition_of(self.text_of(section), entry.number)
        return Missing(name or f"{entry.kind} {entry.rest}".strip(), reason, statement)

    def stopped_at(self, each: Aside) -> ProgramFailed:
        """The error for an entry without which there is no restore."""
        if each.section == "data":
            return ProgramFailed(
                f"{each.entry.kind} {each.entry.rest} cannot be loaded: {each.failed.complaint}",
                each.failed.hint or _OTHERS_HINT,
            )
        reason = each.failed.complaint
        name = self.missing(each.section, each.entry, reason).name
        # A table may lack a type, and that only what reads its values.
        lacking = re.findall(r"\w\.(\w+)", reason)
        before = self.aside[: self.aside.index(each)]
        cause = next(
            (other for other in before if any(each_type in other.entry.rest for each_type in lacking)), None
        )
        if cause is not None:
            before_it = self.missing(cause.section, cause.entry, cause.failed.complaint)
            reason += f"; {before_it.name} could not be made before it: {before_it.reason}"
        hint = _LIBRARY_HINT if _LIBRARY.search(reason) else each.failed.hint or _OTHERS_HINT
        return ProgramFailed(f"{name} cannot be made: {reason}", hint)


def _is_of_an_entry(failed: ProgramFailed, section: Section) -> bool:
    """Whether one entry could not be made, and nothing of it was."""
    # A name with a line end hides which entry it was, not that it was one.
    if failed.retryable or not failed.claimed_entries or _OF_THE_SERVER.search(failed.message):
        return False
    # Rows written as INSERT (in archives that others made) may be half there.
    return (
        section != "data"
        or failed.complaint.startswith("COPY failed")
        or "does not exist" in failed.complaint
    )

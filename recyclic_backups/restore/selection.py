"""Which tables a partial restore brings: the ones named, and the ones these refer to. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from recyclic_backups.errors import RecoveryError, UsageError
from recyclic_backups.fingerprint.model import Fingerprint
from recyclic_backups.postgres.names import qualified_name, split_qualified_name


@dataclass(frozen=True, slots=True)
class Selection:
    """Tables by qualified name. ``wanted`` were asked for; ``tables`` are those and what they refer to."""

    wanted: tuple[str, ...]
    tables: tuple[str, ...]
    sequences: tuple[str, ...] = ()

    @property
    def brought_along(self) -> tuple[str, ...]:
        """Tables nobody asked for, without which the wanted ones make no sense."""
        return tuple(name for name in self.tables if name not in self.wanted)

    def names_by_schema(self, *, without: Collection[str] = ()) -> Mapping[str, list[str]]:
        """What pg_restore's ``--schema`` and ``--table`` take, one run for each schema; not the tables ``without``.

        ``--table`` matches a name in whatever schemas are given, so that schemas cannot be mixed
        (https://www.postgresql.org/docs/15/app-pgrestore.html). It matches sequences too.
        """
        names: dict[str, list[str]] = {}
        for qualified in (*self.tables, *self.sequences):
            if qualified not in without:
                schema, name = split_qualified_name(qualified)
                names.setdefault(schema, []).append(name)
        return names


@dataclass(frozen=True, slots=True)
class Request:
    """What the operator asked for; nothing at all means everything."""

    tables: Sequence[str] = field(default_factory=tuple)
    schemas: Sequence[str] = field(default_factory=tuple)

    def __bool__(self) -> bool:
        return bool(self.tables or self.schemas)


def select(request: Request, fingerprint: Fingerprint | None, *, follow: bool = True) -> Selection:
    """Resolve a request against what the backup contains; ``follow`` brings the referred tables along.

    Raises RecoveryError for a table or schema the backup does not have, and when it has no fingerprint to
    tell; UsageError for a name without schema that several schemas have.
    """
    if fingerprint is None or not fingerprint.tables:
        raise RecoveryError(
            "this backup has no fingerprint, so what its tables refer to is not known",
            "restore it whole into a database of its own with --into, and copy what you need from there",
        )
    wanted = [_resolve(name, fingerprint) for name in request.tables]
    for schema in request.schemas:
        inside = [name for name in fingerprint.tables if split_qualified_name(name)[0] == schema]
        if not inside:
            raise RecoveryError(
                f"the backup has no tables in a schema {schema!r}", _known(_schemas(fingerprint))
            )
        wanted += inside
    unique = tuple(dict.fromkeys(wanted))
    tables = fingerprint.needed_for(unique) if follow else frozenset(unique)
    sequences = tuple(sorted(name for name, item in fingerprint.sequences.items() if item.owned_by in tables))
    return Selection(wanted=unique, tables=tuple(sorted(tables)), sequences=sequences)


def _resolve(name: str, fingerprint: Fingerprint) -> str:
    if name in fingerprint.tables:
        return name
    try:
        schema, table = split_qualified_name(name)
        found = [qualified_name(schema, table)] if qualified_name(schema, table) in fingerprint.tables else []
    except ValueError:
        found = [each for each in fingerprint.tables if split_qualified_name(each)[1] == name]
    if len(found) > 1:
        raise UsageError(f"{name!r} could be any of {', '.join(sorted(found))}", "write it with its schema")
    if not found:
        raise RecoveryError(f"the backup has no table {name!r}", _known(fingerprint.tables))
    return found[0]


def _schemas(fingerprint: Fingerprint) -> set[str]:
    return {split_qualified_name(name)[0] for name in fingerprint.tables}


def _known(names: Iterable[str]) -> str:
    shown = sorted(names)
    more = f" and {len(shown) - 12} more" if len(shown) > 12 else ""
    return f"it has {', '.join(shown[:12])}{more}"

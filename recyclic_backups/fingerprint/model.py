"""The fingerprint as a document: what it holds, and how it is written in a manifest. Pure.

It lives in ``manifest.json``, in clear where the backup is not encrypted: it holds names, counts and hashes, never a
value of the database. Sums of hashes and positions of sequences are decimal strings in JSON, because many readers
of JSON keep integers as 53-bit floats. ``from_json`` raises DamagedData for a document that cannot have
been written by ``to_json``; keys it does not know are passed over, so that an older program can restore
what a newer one has dumped.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias, cast, get_args

from recyclic_backups.fingerprint.document import (
    Json,
    a_count,
    a_decimal,
    a_flag,
    a_map,
    a_text,
    a_whole,
    an_object,
    nonsense,
    optional,
    packed,
    packed_counts,
    texts,
    unpacked,
)
from recyclic_backups.fingerprint.sketch import a_sketch
from recyclic_backups.postgres.names import split_qualified_name

Level: TypeAlias = Literal["content", "counts", "off"]


@dataclass(frozen=True, slots=True)
class TableFingerprint:
    """One table, its own rows only (those of its partitions and children are theirs).

    ``non_null`` counts values per column, ``content`` is the sum of a 64-bit hash of every row's text, and
    ``sketch`` tells of two such tables how many rows they have in common (both None at level ``counts``). ``types``
    is a short hash of the columns' types. Backups of older versions have neither.
    All leave generated columns out: a dump does not hold them, a restore computes them anew. ``references``
    are the tables that must be there before this one makes sense: those its foreign keys refer to and those
    it is a partition or child of. ``partitions`` hold its rows.
    """

    rows: int
    non_null: Mapping[str, int]
    content: str | None = None
    references: tuple[str, ...] = ()
    partitions: tuple[str, ...] = ()
    sketch: str | None = None
    types: str | None = None

    def is_alike(self, other: TableFingerprint) -> bool:
        """Whether both have the same columns, of the same types as far as that is known."""
        known = None not in (self.types, other.types)
        return self.non_null.keys() == other.non_null.keys() and (not known or self.types == other.types)

    def to_json(self) -> Json:
        """The table as JSON; what is empty is left out."""
        document: Json = {"rows": self.rows, "non_null": packed(self.non_null), "content": self.content}
        if self.sketch is not None:
            document["sketch"] = self.sketch
        if self.types is not None:
            document["types"] = self.types
        if self.references:
            document["references"] = list(self.references)
        if self.partitions:
            document["partitions"] = list(self.partitions)
        return document

    @classmethod
    def from_json(cls, document: object) -> TableFingerprint:
        """The table that ``to_json`` wrote. Raises DamagedData."""
        entry = an_object(document)
        return cls(
            rows=a_count(entry.get("rows")),
            non_null=packed_counts(entry.get("non_null")),
            content=optional(entry.get("content"), a_decimal),
            references=texts(entry.get("references", [])),
            partitions=texts(entry.get("partitions", [])),
            sketch=optional(entry.get("sketch"), a_sketch),
            types=optional(entry.get("types"), a_text),
        )


@dataclass(frozen=True, slots=True)
class SequenceReading:
    """Where a sequence stands: ``last_value`` is handed out next unless ``is_called``.

    ``minimum`` and ``maximum`` are set only for one that cycles: nothing else comes back from its end.
    ``owned_by`` is the table of the column that owns it, if one does.
    """

    last_value: int
    is_called: bool
    increment: int = 1
    minimum: int | None = None
    maximum: int | None = None
    owned_by: str | None = None

    @property
    def cycles(self) -> bool:
        """Whether it starts again at its end."""
        return self.minimum is not None and self.maximum is not None

    @property
    def next_value(self) -> int:
        """What ``nextval`` would give; past the end of a cycling sequence, its beginning."""
        value = self.last_value + (self.increment if self.is_called else 0)
        if self.minimum is None or self.maximum is None or self.minimum <= value <= self.maximum:
            return value
        return self.minimum if self.increment > 0 else self.maximum

    def to_json(self) -> Json:
        """The reading as JSON, numbers as decimal strings; what is as usual is left out."""
        document: Json = {"last_value": str(self.last_value), "is_called": self.is_called}
        if self.increment != 1:
            document["increment"] = str(self.increment)
        if self.minimum is not None:
            document["minimum"] = str(self.minimum)
        if self.maximum is not None:
            document["maximum"] = str(self.maximum)
        if self.owned_by is not None:
            document["owned_by"] = self.owned_by
        return document

    @classmethod
    def from_json(cls, document: object) -> SequenceReading:
        """The reading that ``to_json`` wrote. Raises DamagedData."""
        entry = an_object(document)
        return cls(
            last_value=a_whole(entry.get("last_value")),
            is_called=a_flag(entry.get("is_called")),
            increment=a_whole(entry.get("increment", "1")),
            minimum=optional(entry.get("minimum"), a_whole),
            maximum=optional(entry.get("maximum"), a_whole),
            owned_by=optional(entry.get("owned_by"), a_text),
        )


@dataclass(frozen=True, slots=True)
class SequenceFingerprint:
    """A sequence before the snapshot was taken and after the dump ended.

    Sequences do not follow snapshots (https://www.postgresql.org/docs/15/functions-sequence.html), so what
    the dump holds lies somewhere between. None: the sequence was not there yet, or not any more.
    """

    before: SequenceReading | None
    after: SequenceReading | None

    @property
    def owned_by(self) -> str | None:
        """The table whose column owns the sequence, if any."""
        reading = self.after or self.before
        return reading.owned_by if reading else None

    def to_json(self) -> Json:
        """Both readings as JSON; the second is left out when it equals the first, as it does at night."""
        document: Json = {"before": self.before.to_json() if self.before else None}
        if self.after != self.before:
            document["after"] = self.after.to_json() if self.after else None
        return document

    @classmethod
    def from_json(cls, document: object) -> SequenceFingerprint:
        """The sequence that ``to_json`` wrote. Raises DamagedData."""
        entry = an_object(document)
        before = optional(entry.get("before"), SequenceReading.from_json)
        after = optional(entry["after"], SequenceReading.from_json) if "after" in entry else before
        return cls(before=before, after=after)


@dataclass(frozen=True, slots=True)
class MaterializedViewFingerprint:
    """A materialized view: a restore computes it anew, so ``rows`` is information. None: not counted."""

    populated: bool
    rows: int | None = None

    def to_json(self) -> Json:
        """The view as JSON."""
        return {"populated": self.populated, "rows": self.rows}

    @classmethod
    def from_json(cls, document: object) -> MaterializedViewFingerprint:
        """The view that ``to_json`` wrote. Raises DamagedData."""
        entry = an_object(document)
        return cls(populated=a_flag(entry.get("populated")), rows=optional(entry.get("rows"), a_count))


@dataclass(frozen=True, slots=True)
class LargeObjectsFingerprint:
    """All large objects together; ``content`` and ``ownership`` (owner, grants) are sums of hashes."""

    count: int = 0
    total_bytes: int = 0
    content: str | None = None
    ownership: str | None = None

    def to_json(self) -> Json:
        """The large objects as JSON."""
        return {
            "count": self.count,
            "total_bytes": self.total_bytes,
            "content": self.content,
            "ownership": self.ownership,
        }

    @classmethod
    def from_json(cls, document: object) -> LargeObjectsFingerprint:
        """The large objects that ``to_json`` wrote. Raises DamagedData."""
        entry = an_object(document)
        return cls(
            count=a_count(entry.get("count")),
            total_bytes=a_count(entry.get("total_bytes")),
            content=optional(entry.get("content"), a_decimal),
            ownership=optional(entry.get("ownership"), a_decimal),
        )


@dataclass(frozen=True, slots=True)
class RoleFingerprint:
    """A role: attributes in words (``login``, ``createdb``), the roles it is a member of, its settings.

    Settings are hashed because people keep secrets in them; a password is not read at all.
    """

    attributes: tuple[str, ...] = ()
    member_of: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> Json:
        """The role as JSON."""
        return {
            "attributes": list(self.attributes),
            "member_of": list(self.member_of),
            "settings": dict(self.settings),
        }

    @classmethod
    def from_json(cls, document: object) -> RoleFingerprint:
        """The role that ``to_json`` wrote. Raises DamagedData."""
        entry = an_object(document)
        return cls(
            attributes=texts(entry.get("attributes")),
            member_of=texts(entry.get("member_of")),
            settings=a_map(entry.get("settings"), a_text),
        )


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a database contained at one moment. Tables, sequences and views go by their qualified name.

    ``schema`` (from the text of ``pg_dump --schema-only``; None if it was not
    given) and ``listing`` (from the catalog) map an entry such as ``INDEX public.sales_pkey`` to a
    16-digit hash of its text, followed by a space and its owner where it has one.
    """

    level: Level
    tables: Mapping[str, TableFingerprint] = field(default_factory=dict)
    sequences: Mapping[str, SequenceFingerprint] = field(default_factory=dict)
    materialized_views: Mapping[str, MaterializedViewFingerprint] = field(default_factory=dict)
    large_objects: LargeObjectsFingerprint = field(default_factory=LargeObjectsFingerprint)
    roles: Mapping[str, RoleFingerprint] = field(default_factory=dict)
    extensions: Mapping[str, str] = field(default_factory=dict)
    schema: Mapping[str, str] | None = None
    listing: Mapping[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows of all tables together."""
        return sum(table.rows for table in self.tables.values())

    def needed_for(self, tables: Iterable[str]) -> frozenset[str]:
        """These tables, their partitions, and all that any of them refers to, over as many steps as it takes.

        Names the fingerprint does not know are passed through: whether they matter is the caller's question.
        """
        needed: set[str] = set()
        waiting = list(tables)
        while waiting:
            name = waiting.pop()
            if name in needed:
                continue
            needed.add(name)
            if table := self.tables.get(name):
                waiting += [*table.references, *table.partitions]
        return frozenset(needed)

    def with_sequences_after(self, after: Mapping[str, SequenceReading]) -> Fingerprint:
        """The same with the second reading of every sequence: what is read once pg_dump has ended."""
        return replace(
            self,
            sequences={name: replace(item, after=after.get(name)) for name, item in self.sequences.items()},
        )

    def with_schema(self, entries: Mapping[str, str]) -> Fingerprint:
        """The same with the entries of a schema dump that ended after the tables had been read."""
        return replace(self, schema=entries)

    def written_anew(self, entries: Mapping[str, str]) -> Fingerprint:
        """The same with other texts of some entries of the schema; their owners stay."""
        if self.schema is None:
            return self
        owned = {
            name: " ".join(filter(None, (value.partition(" ")[0], self.schema[name].partition(" ")[2])))
            for name, value in entries.items()
        }
        return replace(self, schema={**self.schema, **owned})

    def without(
        self, *, extensions: Collection[str], relations: Collection[str], definitions: Collection[str]
    ) -> Fingerprint:
        """The same without some extensions, tables and sequences (``schema name``), and entries of the schema."""
        if not (extensions or relations or definitions):
            return self
        gone = {f"EXTENSION {name}" for name in extensions} | set(definitions)
        # A listing of another version knows one kind of constraint.
        gone |= {name.removeprefix("FK ").removeprefix("CHECK ") for name in definitions}
        gone |= {f"{about} {name}" for name in gone for about in ("COMMENT", "ACL")}
        unfilled = {name.removeprefix("MATERIALIZED VIEW DATA ") for name in definitions}

        def stays(name: str) -> bool:
            return " ".join(split_qualified_name(name)) not in relations

        return replace(
            self,
            tables={name: item for name, item in self.tables.items() if stays(name)},
            sequences={name: item for name, item in self.sequences.items() if stays(name)},
            materialized_views={
                name: replace(item, populated=item.populated and name not in unfilled)
                for name, item in self.materialized_views.items()
            },
            extensions={name: version for name, version in self.extensions.items() if name not in extensions},
            schema=self.schema and {name: value for name, value in self.schema.items() if name not in gone},
            listing={name: value for name, value in self.listing.items() if name not in gone},
        )

    def to_json(self) -> Json:
        """The fingerprint as JSON, keys in order so that equal fingerprints give equal bytes."""
        if self.level == "off":
            return {"level": "off"}
        return {
            "level": self.level,
            "tables": {name: item.to_json() for name, item in sorted(self.tables.items())},
            "sequences": {name: item.to_json() for name, item in sorted(self.sequences.items())},
            "materialized_views": {
                name: item.to_json() for name, item in sorted(self.materialized_views.items())
            },
            "large_objects": self.large_objects.to_json(),
            "roles": {name: item.to_json() for name, item in sorted(self.roles.items())},
            "extensions": dict(sorted(self.extensions.items())),
            "schema": None if self.schema is None else packed(self.schema),
            "listing": packed(self.listing),
        }

    @classmethod
    def from_json(cls, document: object) -> Fingerprint:
        """The fingerprint that ``to_json`` wrote. Raises DamagedData."""
        entry = an_object(document)
        level = entry.get("level")
        if level not in get_args(Level):
            raise nonsense("level", level)
        if level == "off":
            return cls(level="off")
        return cls(
            level=cast(Level, level),
            tables=a_map(entry.get("tables"), TableFingerprint.from_json),
            sequences=a_map(entry.get("sequences"), SequenceFingerprint.from_json),
            materialized_views=a_map(entry.get("materialized_views"), MaterializedViewFingerprint.from_json),
            large_objects=LargeObjectsFingerprint.from_json(entry.get("large_objects")),
            roles=a_map(entry.get("roles"), RoleFingerprint.from_json),
            extensions=a_map(entry.get("extensions"), a_text),
            schema=optional(entry.get("schema"), unpacked),
            listing=unpacked(entry.get("listing")),
        )

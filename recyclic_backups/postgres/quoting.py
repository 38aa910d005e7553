"""Statements put together of names that need quoting; psycopg's own pieces with fewer words."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from recyclic_backups.postgres.names import split_qualified_name


def statement(template: str, *parts: sql.Composable) -> sql.Composed:
    """A statement: names and lists of names in the place of its ``{}``."""
    return sql.SQL(template).format(*parts)


def name(text: str) -> sql.Identifier:
    """One identifier, always quoted."""
    return sql.Identifier(text)


def names(texts: Sequence[str]) -> sql.Composed:
    """Identifiers with commas between them."""
    return joined(", ", [name(text) for text in texts])


def columns_of(alias: str, columns: Sequence[str]) -> sql.Composed:
    """``alias."column"`` for each column, with commas between them."""
    return joined(", ", [statement("{}.{}", name(alias), name(column)) for column in columns])


def relation(qualified: str) -> sql.Identifier:
    """A table by its qualified name."""
    return sql.Identifier(*split_qualified_name(qualified))


def own_rows(qualified: str, *, partitioned: bool) -> sql.Composed:
    """The rows of a table and its partitions, without those of tables that inherit from it."""
    return statement("{}" if partitioned else "ONLY {}", relation(qualified))


def temporary(text: str) -> sql.Identifier:
    """A temporary table of this session, by its name."""
    return sql.Identifier("pg_temp", text)


def operator(found: tuple[str, str]) -> sql.Composed:
    """``OPERATOR(schema.=)``: an operator by its schema and name, and no other one whatever the search path."""
    schema, symbol = found
    # Symbols hold none of the characters that would need quotes (sql-createoperator.html).
    return sql.SQL("OPERATOR({}.{})").format(sql.Identifier(schema), sql.SQL(symbol))


def joined(separator: str, parts: Sequence[sql.Composable]) -> sql.Composed:
    """Pieces of SQL with something between them."""
    return sql.SQL(separator).join(parts)

"""The statements of the PostgreSQL target, as text; and what is wrong with a table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .postgres_columns import ColumnType

__all__ = ["POSITIONS", "ExistingColumn", "TableLayout", "problems", "quoted"]

POSITIONS = "tidemill_positions"
"""The table of positions and epochs, in the schema of the target's table or else the first of the search path."""
STAGED = "tidemill_staged"
"""The temporary table into which changes of rows are copied first."""

KINDS: Mapping[str, frozenset[str]] = {
    "text": frozenset(("text", "character varying", "character", "citext", "name")),
    "bigint": frozenset(("bigint", "integer", "smallint", "numeric")),
    "double precision": frozenset(("double precision", "real", "numeric")),
    "jsonb": frozenset(("jsonb", "json")),
    "timestamptz": frozenset(("timestamp with time zone",)),
    "numeric": frozenset(("numeric",)),
    "boolean": frozenset(("boolean",)),
    "bytea": frozenset(("bytea",)),
    "uuid": frozenset(("uuid",)),
    "date": frozenset(("date",)),
    "time": frozenset(("time without time zone",)),
    "interval": frozenset(("interval",)),
}
"""The types of an existing column that take values of a type; a value that is too large is that record's error."""


def quoted(name: str) -> str:
    """Return a name as an identifier, `schema.table` as two."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in name.split("."))


@dataclass(frozen=True)
class ExistingColumn:
    """A column of a table that exists."""

    name: str
    type: str
    required: bool
    """Whether it must be given: it is not null and has no default."""


@dataclass(frozen=True)
class TableLayout:
    """A table as a sink writes it.

    Without keys, rows are appended; else they are inserted, updated and deleted.
    """

    table: str
    keys: tuple[ColumnType, ...]
    values: tuple[ColumnType, ...]

    @property
    def columns(self) -> tuple[ColumnType, ...]:
        return (*self.keys, *self.values)

    @property
    def positions(self) -> str:
        """The name of the table of positions, quoted."""
        schema, dot, _ = self.table.rpartition(".")
        return quoted(f"{schema}{dot}{POSITIONS}")

    @property
    def create(self) -> str:
        """The statement that creates the table if there is none."""
        lines = [f"{quoted_column(column.name)} {column.type}" for column in self.columns]
        if self.keys:
            lines.append(f"primary key ({names(self.keys)})")
        return f"create table if not exists {quoted(self.table)} ({', '.join(lines)})"

    @property
    def create_positions(self) -> str:
        """The statement that creates the table of positions if there is none."""
        return (
            f"create table if not exists {self.positions} (application text, sink text, topic text, topic_id text, "
            '"partition" integer, "position" bigint, epoch text not null, updated timestamptz not null default now(), '
            'primary key (application, sink, topic, topic_id, "partition"))'
        )

    @property
    def copy(self) -> str:
        """The statement that copies rows into the table."""
        return f"copy {quoted(self.table)} ({names(self.columns)}) from stdin"

    @property
    def stage(self) -> str:
        """The statement that makes the temporary table for changes."""
        return (
            f"create temporary table if not exists {STAGED} on commit delete rows as select {names(self.columns)}, "
            f"false as tidemill_deleted, 0 as tidemill_number from {quoted(self.table)} with no data"
        )

    @property
    def copy_staged(self) -> str:
        """The statement that copies changes into the temporary table."""
        return f"copy pg_temp.{STAGED} ({names(self.columns)}, tidemill_deleted, tidemill_number) from stdin"

    @property
    def clear_staged(self) -> str:
        """The statement that empties the temporary table."""
        return f"delete from pg_temp.{STAGED}"

    @property
    def delete(self) -> str:
        """The statement that deletes the rows whose keys are staged as deleted."""
        same = " and ".join(f"kept.{quoted_column(key.name)} = last.{quoted_column(key.name)}" for key in self.keys)
        return f"delete from {quoted(self.table)} kept using {self._last} where last.tidemill_deleted and {same}"

    @property
    def upsert(self) -> str:
        """The statement that inserts or updates the rows that are staged."""
        changes = ", ".join(f"{quoted_column(one.name)} = excluded.{quoted_column(one.name)}" for one in self.values)
        return (
            f"insert into {quoted(self.table)} ({names(self.columns)}) select {names(self.columns)} from {self._last} "
            f"where not tidemill_deleted on conflict ({names(self.keys)}) do update set {changes}"
        )

    @property
    def _last(self) -> str:
        """The last change of each key, by what the server takes as equal."""
        keys = names(self.keys)
        return f"(select distinct on ({keys}) * from pg_temp.{STAGED} order by {keys}, tidemill_number desc) last"


def quoted_column(name: str) -> str:
    """Return the name of a column as an identifier."""
    return '"' + name.replace('"', '""') + '"'


def names(columns: Sequence[ColumnType]) -> str:
    """Return the names of columns as a list of identifiers."""
    return ", ".join(quoted_column(column.name) for column in columns)


def problems(layout: TableLayout, existing: Sequence[ExistingColumn], unique: Sequence[frozenset[str]]) -> list[str]:
    """Return what is wrong with a table that exists, in words.

    `unique` has the columns of its unique indexes.
    """
    found: list[str] = []
    by_name = {column.name: column for column in existing}
    for column in layout.columns:
        there = by_name.get(column.name)
        if there is None:
            found.append(f"it has no column {column.name!r} ({column.type})")
        elif not _takes(there.type, column.type):
            found.append(f"its column {column.name!r} is {there.type}, and the values are {column.type}")
    written = {column.name for column in layout.columns}
    found += [
        f"its column {column.name!r} must have a value, and the sink writes none"
        for column in existing
        if column.required and column.name not in written
    ]
    keys = frozenset(key.name for key in layout.keys)
    if keys and keys not in unique:
        found.append(f"it has no primary key or unique index on {', '.join(key.name for key in layout.keys)}")
    return found


def _takes(existing: str, wanted: str) -> bool:
    """Return whether a column takes values of a type; True for types that are not known."""
    plain = re.sub(r"\(.*?\)", "", existing).strip()
    kinds = KINDS.get(wanted)
    return kinds is None or plain in kinds or plain == wanted

"""PostgreSQL as a target: events are appended, rows of tables are kept by key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from typing import ClassVar

from ...operators.errors import TopologyError
from ...operators.graph.target import Target, TargetInput, TargetSession, TargetTask
from .postgres_columns import JSON, ColumnType, columns_of, given_columns, key_columns
from .postgres_sql import TableLayout

__all__ = ["Postgres", "postgres"]

WINDOW = (ColumnType("window_start", "timestamptz"), ColumnType("window_end", "timestamptz"))


@dataclass(frozen=True)
class Postgres(Target):
    """A table of PostgreSQL. `postgres` makes it."""

    kind: ClassVar[str] = "postgres"

    url: str
    table: str
    columns: tuple[ColumnType, ...] | None
    key: tuple[ColumnType, ...] | None
    timestamp: str | None
    create: bool
    given: TargetInput | None = None

    def __repr__(self) -> str:
        return f"postgres(table={self.table!r})"  # a URL may have a password

    def accept(self, given: TargetInput) -> Postgres:
        accepted = replace(self, given=given)
        layout = accepted.layout()
        names = [column.name for column in layout.columns]
        if twice := {name for name in names if names.count(name) > 1}:
            raise TopologyError(
                f"tm.postgres(table={self.table!r}): two columns would be called {', '.join(sorted(twice))}; give the "
                'key another name, such as key={"id": "text"}, or state the columns of the value with columns='
            )
        if any(column.type in ("json", JSON) for column in accepted.key_of_row) and given.table:
            raise TopologyError(f"tm.postgres(table={self.table!r}): a column of JSON cannot be part of the key")
        return accepted

    @property
    def key_of_row(self) -> tuple[ColumnType, ...]:
        """The columns of the key, without those of a window; empty for events without `key`."""
        given = self.given
        assert given is not None
        return self.key or (key_columns(given.key) if given.table else ())

    @property
    def value_of_row(self) -> tuple[ColumnType, ...]:
        """The columns of the value."""
        assert self.given is not None
        return self.columns or columns_of(self.given.value, "value")

    def layout(self) -> TableLayout:
        """Return the table as it is written."""
        given = self.given
        assert given is not None
        keys = self.key_of_row
        if keys and given.windowed:
            keys = (*keys, *WINDOW)
        values = self.value_of_row
        if self.timestamp is not None:
            values = (*values, ColumnType(self.timestamp, "timestamptz"))
        return TableLayout(self.table, keys, values) if given.table else TableLayout(self.table, (), (*keys, *values))

    def open(self, task: TargetTask, epoch: str) -> TargetSession:
        module = import_module(f"{__package__}.postgres_session")
        session: TargetSession = module.opened(self, task, epoch)
        return session


def postgres(
    url: str,
    table: str,
    *,
    columns: Mapping[str, str] | None = None,
    key: Mapping[str, str] | None = None,
    timestamp: str | None = None,
    create: bool = True,
) -> Target:
    """Return a table of PostgreSQL as the target of a sink: each record is written exactly once.

    A stream is appended. A table is kept as it is: a row is inserted, updated or deleted by its key, and with windows
    by `window_start` and `window_end` too. The position is in the table `tidemill_positions`, in the same transaction.

    Args:
        url: The server and the database, as for psycopg and psql; without a password, PGPASSWORD or a password file.
        table: The name of the table, or `schema.table`.
        columns: Names and types of the columns for the value, read from its fields. Without it they follow from the
            model of the value, such as `tm.json(Model)`; if there is none, the value is one column `value` of JSON.
        key: The same for the key. Without it, a table has a column `key`, or the fields of a key's model, and the rows
            of a stream have no key.
        timestamp: The name of a column for the event time.
        create: Whether to create the tables if they do not exist. They are checked in any case.

    Raises:
        TopologyError: An argument is wrong, columns have the same name, or psycopg is not installed.

    Example:
        >>> shop = tm.postgres("postgresql://localhost/shop", table="orders", columns={"item": "text", "pieces": "int"})
        >>> orders.sink(shop).named("orders-to-shop")
    """
    if find_spec("psycopg") is None:
        raise TopologyError("tm.postgres needs psycopg, which is not installed: pip install 'tidemill[postgres]'")
    for text, what in ((url, "url"), (table, "table")):
        if not isinstance(text, str) or not text:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TopologyError(f"tm.postgres({what}=) takes a text, not {text!r}")
    return Postgres(
        url,
        table,
        None if columns is None else given_columns(columns, "columns"),
        None if key is None else given_columns(key, "key"),
        timestamp,
        create,
    )

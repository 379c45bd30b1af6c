"""`tm.RowChange`: one change of a row of a database, as Debezium reports it."""

from __future__ import annotations

from typing import Any, Generic, Literal

import msgspec
from typing_extensions import TypeVar

__all__ = ["RowChange", "ChangeTransaction", "LogicalMessage", "Operation"]

T = TypeVar("T", default=Any)

Operation = Literal["c", "u", "d", "r", "t", "m"]


class ChangeTransaction(msgspec.Struct, frozen=True):
    """The place of a change in its transaction (Debezium's `provide.transaction.metadata`)."""

    id: str
    total_order: int
    """Its number among all changes of the transaction, from 1."""
    data_collection_order: int
    """Its number among those of the same table."""


class LogicalMessage(msgspec.Struct, frozen=True):
    """What `pg_logical_emit_message` wrote."""

    prefix: str
    content: bytes


class RowChange(msgspec.Struct, Generic[T], frozen=True):
    """One change of a row of a database: the value of a stream that is read by `tm.debezium`.

    Args:
        op: Debezium's letter: "c" created, "u" updated, "d" deleted, "r" read by a snapshot, "t" the table was
            truncated, "m" a logical message of PostgreSQL.
        before: The row before the change; None if there was none, or if the record does not have it. PostgreSQL tells
            the primary key alone, with other columns null or empty, unless the table has REPLICA IDENTITY FULL.
        after: The row after the change; None after a deletion.
        source: Where the change comes from, as Debezium writes it: "db", "table", "ts_ms" (the time of the commit),
            "lsn" or "file" and "pos", "snapshot" and so on.
        ts_ms: When Debezium processed the change, in milliseconds since 1970.
        transaction: `id`, `total_order` and `data_collection_order`, if Debezium was told to give them.
        message: `prefix` and `content` of a logical message.
        before_columns: The columns of the row before as the record has them, if they make no object of the model.
        unavailable: The columns of `after` that did not change and that PostgreSQL does not send, since they are stored
            out of line (TOAST). Their values are Debezium's placeholder.

    Example:
        >>> import msgspec
        >>> class Customer(msgspec.Struct):
        ...     name: str
        >>> changes = app.stream("shop.customers", key=tm.debezium_key(int), value=tm.debezium(Customer))
        >>> changes.filter(lambda change: change.op == "d").map(lambda change: change.source["ts_ms"]).to("deleted")
    """

    op: Operation
    before: T | None = None
    after: T | None = None
    source: dict[str, Any] = {}
    ts_ms: int | None = None
    transaction: ChangeTransaction | None = None
    message: LogicalMessage | None = None
    before_columns: dict[str, Any] | None = None
    unavailable: tuple[str, ...] = ()

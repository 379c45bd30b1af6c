"""What goes between the two threads of a process that runs a Faust application, as values.

The engine's thread delivers records and asks for what the agents have done; the event loop's thread runs the agents.

    engine's thread   -- Delivery -->   event loop
                      <-- Harvest --
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import msgspec

from ....operators.record import Headers, Row

__all__ = ["Delivery", "Harvest", "Sent", "StoredEvent"]


class StoredEvent(msgspec.Struct, array_like=True):
    """An event that was delivered and not acknowledged, as the store of the task keeps it."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    channel: int
    """The number of the stream that has it still to process, among those that read the topic."""


class Sent(NamedTuple):
    """A record that an agent has sent while it processed an event."""

    topic: str
    row: Row


Columns: TypeAlias = "tuple[list[bytes], list[bytes | None]]"


class Delivery(NamedTuple):
    """Records of one partition for the streams that read the topic, in columns."""

    topic: str
    partition: int
    offsets: list[int]
    timestamps: list[int]
    keys: list[bytes | None]
    values: list[bytes | None]
    headers: list[Headers]


class Harvest(NamedTuple):
    """What the agents have done with the events of one task since the last harvest.

    It is taken while no event is being processed, so that each event is in it as a whole or not at all.
    """

    changes: dict[str, dict[bytes, bytes | None]]
    """The changes of each table, as encoded keys and values; a value of None deletes."""
    sent: list[Sent]
    waiting: dict[int, StoredEvent]
    """Events that are delivered and not begun, by number, without those of earlier harvests."""
    finished: list[int]
    """The numbers of events that earlier harvests had as waiting, and that are acknowledged now."""

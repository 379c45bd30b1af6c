"""The tables of a Faust application, with rows in the stores of tasks.

A table keeps Faust's interface; only where its rows are is changed. Within an event they are those of the event's task,
elsewhere those of all tasks of this process, which can then be read but not changed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final, cast

from . import library
from .expiry import delete_expired
from .rows import ABSENT, FaustRows
from .work import EventMessage, TaskWork, current_message

__all__ = ["TaskTableManager", "TaskTableStore", "use_task_stores"]

LOG: Final = logging.getLogger("tidemill.faust")
REMEMBERED_KEYS: Final = 100_000
RECORD: Final = b"__faust"
"""What Faust writes into a record, so that it is known as one."""


class TaskTableStore(library.Store):
    """The rows of one table in all tasks of this process."""

    def __init__(self, table: Any, works: Callable[[], list[TaskWork]]) -> None:
        app: Any = table.app
        library.Store.__init__(
            self,
            "tidemill://",
            app,
            table,
            table_name=table.name,
            key_type=table.key_type,
            key_serializer=table.key_serializer,
            value_type=table.value_type,
            value_serializer=table.value_serializer,
        )
        self._name: str = table.name
        self._works = works
        self._keys: dict[Any, bytes] = {}

    # Where rows are

    def rows(self) -> FaustRows | None:
        """Return the rows in the task of the current event, None outside of events."""
        message = current_message()
        return None if message is None else message.work.tables[self._name]

    def everywhere(self) -> list[FaustRows]:
        """Return the rows in the task of the current event, or else in all tasks of this process."""
        rows = self.rows()
        return [work.tables[self._name] for work in self._works()] if rows is None else [rows]

    def writable(self) -> FaustRows:
        """Return the rows in the task of the current event; raise TypeError outside of events."""
        rows = self.rows()
        if rows is None:
            raise TypeError(f"table {self._name!r}: Cannot modify table key from outside of stream iteration")
        return rows

    def encoded(self, key: Any) -> bytes:
        """Return a key as bytes."""
        plain = key.__class__ is str or key.__class__ is tuple
        if plain:
            found = self._keys.get(key)
            if found is not None and (key.__class__ is str or all_same(key)):
                return found
        data: bytes = self._encode_key(key)
        if key.__class__ is str or (plain and all_same(key)):
            if len(self._keys) >= REMEMBERED_KEYS:
                self._keys.clear()
            self._keys[key] = data
        return data

    def decoded_key(self, data: bytes) -> Any:
        """Return the key with these bytes."""
        return self.table._to_key(self._decode_key(data))

    def keys_of(self, work: TaskWork) -> Iterator[Any]:
        """Return the keys of the rows in one task."""
        return (self.decoded_key(data) for data, _ in work.tables[self._name].items())

    def encoded_value(self, value: Any) -> bytes | None:
        """Return a value as bytes."""
        return self._encode_value(value)

    def decoded_value(self, data: bytes) -> Any:
        """Return the value with these bytes, with records that are inside of lists and dicts."""
        value = self._decode_value(data)
        return with_records(value) if RECORD in data else value

    def taken_over(
        self, key: bytes, value: bytes | None, at: int, current: Callable[[bytes], bytes | None]
    ) -> tuple[bytes, bytes | None]:
        """Return the row that a record of Faust's changelog makes.

        `current` returns the bytes of a row.
        """
        if not isinstance(self.table._data, TaskSetManager):
            return self._encode_key(self.decoded_key(key)), value
        operation, member_of = self.app.serializers.loads_key(None, key, serializer=self.key_serializer)
        row = self._encode_key(self.table._to_key(member_of))
        before = current(row)
        members: Any = library.ChangeloggedSet(self.table._data, member_of)
        members.sync_from_storage([] if before is None else self.decoded_value(before))
        members.apply_changelog_event(operation, None if value is None else self.decoded_value(value))
        return row, self._encode_value(members.as_stored_value())

    # The mapping

    def __getitem__(self, key: Any) -> Any:
        data = self.encoded(key)
        for rows in self.everywhere():
            value = rows.get(data)
            if value is not ABSENT:
                return value
        raise KeyError(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.writable().put(self.encoded(key), value)

    def __delitem__(self, key: Any) -> None:
        self.writable().delete(self.encoded(key))

    def __contains__(self, key: object) -> bool:
        data = self.encoded(key)
        return any(rows.has(data) for rows in self.everywhere())

    def __iter__(self) -> Iterator[Any]:
        return (key for key, _ in self._all())

    def __len__(self) -> int:
        return sum(1 for _ in self._all())

    def get(self, key: Any, default: Any = None) -> Any:
        """Return the value of a key, or the default."""
        try:
            return self[key]
        except KeyError:
            return default

    def keys(self) -> Any:
        """Return the keys."""
        return [key for key, _ in self._all()]

    def values(self) -> Any:
        """Return the values."""
        return [value for _, value in self._all()]

    def items(self) -> Any:
        """Return the keys with their values."""
        return list(self._all())

    def clear(self) -> None:
        """Delete all rows of the task."""
        rows = self.writable()
        for data, _ in list(rows.items()):
            rows.delete(data)

    def _all(self) -> Iterator[tuple[Any, Any]]:
        for rows in self.everywhere():
            for data, value in rows.items():
                yield self.decoded_key(data), value

    # What Faust's manager of tables asks

    def persisted_offset(self, tp: Any) -> int | None:
        """Return nothing: the engine restores."""

    def reset_state(self) -> None:
        """Do nothing."""

    def apply_changelog_batch(self, batch: Any, to_key: Any, to_value: Any) -> None:
        """Do nothing: the engine restores."""

    async def on_recovery_completed(self, active_tps: Any, standby_tps: Any) -> None:
        """Do nothing."""

    async def backup_partition(self, tp: Any, flush: bool = True, purge: bool = False, keep: int = 1) -> None:
        """Raise NotImplementedError: `tidemill savepoint` makes copies of state."""
        raise NotImplementedError("tables on Tidemill are copied by `tidemill savepoint create`")

    def restore_backup(self, tp: Any, latest: bool = True, backup_id: int = 0) -> None:
        """Raise NotImplementedError: `tidemill savepoint` restores state."""
        raise NotImplementedError("tables on Tidemill are restored by `tidemill savepoint restore`")


def with_records(value: Any) -> Any:
    """Return a value in which the dicts that stand for records of Faust are these."""
    if isinstance(value, list):
        return [with_records(item) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        items = cast("dict[Any, Any]", value)
        return library.maybe_model({name: with_records(item) for name, item in items.items()})
    return value


def all_same(key: tuple[Any, ...]) -> bool:
    """Return whether tuples that equal this one have the same bytes."""
    parts: Any = key
    return all(type(part) is str or (type(part) is tuple and all(type(one) is float for one in part)) for part in parts)


class TaskSetManager(library.ChangeloggedSetManager):
    """The sets of a `SetTable`, each of which is a row."""

    def __init__(self, table: Any, store: TaskTableStore) -> None:
        library.ChangeloggedSetManager.__init__(self, table)
        self._storage = store
        self._rows = store

    async def on_start(self) -> None:
        """Do nothing: the sets are read when they are asked for."""

    async def on_recovery_completed(self, active_tps: Any, standby_tps: Any) -> None:
        """Do nothing."""

    def __getitem__(self, key: Any) -> Any:
        data = self._rows.encoded(key)
        rows = self._rows.rows()
        if rows is None:
            for other in self._rows.everywhere():
                if other.has(data):
                    rows = other
                    break
            else:
                return self.ValueType(self, key)
        found = rows.objects.get(data)
        if found is None:
            found = rows.objects[data] = self.ValueType(self, key)
            value = rows.get(data)
            if value is not ABSENT:
                found.sync_from_storage(value)
        return found

    def send_changelog_event(self, key: Any, operation: int, value: Any) -> None:
        """Write the row of a set that is about to change."""
        changed: Any = self[key]
        self._rows.writable().put_live(self._rows.encoded(key), changed.as_stored_value)

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def keys(self) -> Any:
        """Return the keys."""
        return self._rows.keys()

    def values(self) -> Any:
        """Return the sets."""
        return [self[key] for key in self._rows]

    def items(self) -> Any:
        """Return the keys with their sets."""
        return [(key, self[key]) for key in self._rows]


class TaskTableManager(library.TableManager):
    """The tables of an application; the engine restores them."""

    def __init__(self, app: Any, restored: asyncio.Event, **kwargs: Any) -> None:
        library.TableManager.__init__(self, app, **kwargs)
        self._restored = restored

    async def on_start(self) -> None:
        """Start the tables."""
        self._tables_finalized.set()
        self._recovery_started.set()
        for table in self.values():
            await table.maybe_start()
        self._tables_registered.set()

    async def on_stop(self) -> None:
        """Do nothing: a table has nothing to close."""

    async def wait_until_recovery_completed(self) -> bool:
        """Wait until the engine has opened tasks; return whether the application stops instead."""
        stopped = await self.wait_for_stopped(self._restored)
        if not stopped:
            self.actives_ready = self.standbys_ready = True
            for table in self.values():
                await table.call_recover_callbacks()
        return stopped

    def on_partitions_revoked(self, revoked: Any) -> None:
        """Do nothing."""

    def on_rebalance_start(self) -> None:
        """Do nothing."""


def use_task_stores(app: Any, stores: Mapping[str, TaskTableStore], works: Callable[[], list[TaskWork]]) -> None:
    """Put the rows of all tables into the stores of tasks, which are given by table."""
    for table in app.tables.values():
        store = stores[table.name]
        is_set = isinstance(table._data, library.ChangeloggedSetManager) or hasattr(table, "start_manager")
        table._data = TaskSetManager(table, store) if is_set else store
        table.send_changelog = unsent
        table.on_key_set = changed(table)
        table.on_key_del = deleted(table)
        table.on_start = started
        if table._should_expire_keys():
            table._del_old_keys = partial(delete_expired, table, works)


async def started() -> None:
    """Do nothing: a table has nothing to start."""


def unsent(*arguments: Any, **options: Any) -> Any:
    """Send nothing: the engine writes changelogs."""


def changed(table: Any) -> Callable[[Any, Any], None]:
    """Return what a table does when a key is set."""
    name: str = table.name
    expires: bool = table._should_expire_keys()

    def on_key_set(key: Any, value: Any) -> None:
        message = modifying(name)
        if expires:
            table._maybe_set_key_ttl(key, message.partition)

    return on_key_set


def deleted(table: Any) -> Callable[[Any], None]:
    """Return what a table does when a key is deleted."""
    name: str = table.name

    def on_key_del(key: Any) -> None:
        message = modifying(name)
        table._maybe_del_key_ttl(key, message.partition)

    return on_key_del


def modifying(table: str) -> EventMessage:
    """Return the message of the current event; raise TypeError outside of events."""
    event: Any = library.current_event()
    message: Any = None if event is None else event.message
    if message.__class__ is not EventMessage:
        raise TypeError(f"table {table!r}: Cannot modify table key from outside of stream iteration")
    return message

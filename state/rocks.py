"""The stores of one task in one RocksDB: the only file that knows `rocksdict`.

All stores lie in one column family, each under a number that stands for its name, and so does the position:
data and position are flushed together or not at all, which two column families do not give. The write-ahead log is off,
because the changelog is the log: after a crash the content is that of an earlier commit, and its position says which.

    0x0000 about | stores | position        who owns this, which number each name has, how far the content is
    number (2 bytes) key                    the entries of the store with this number
"""

from __future__ import annotations

import resource
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn
from weakref import WeakSet

import msgspec
from rocksdict import (
    BlockBasedOptions,
    Cache,
    DbClosedError,
    DBCompressionType,
    Options,
    Rdict,
    RdictIter,
    ReadOptions,
    WriteBatch,
    WriteBufferManager,
    WriteOptions,
)

from .keys import successor
from .store import Change, Corrupt, InUse, NewerFormat, Position, StateError, Unusable, WrongOwner

__all__ = ["FORMAT", "RocksStore", "RocksMemory"]

FORMAT = 1
"""Of the layout above; a directory with a higher number was written by a later version."""

META = b"\x00\x00"
ABOUT, STORES, POSITION = META + b"about", META + b"stores", META + b"position"
MAX_STORES = 0xFFFE
LARGEST_WRITE_BUFFER = 16 << 20  # also bounds how much a crash can lose of a task, and so what is replayed


class About(msgspec.Struct, frozen=True):
    """What a directory says of itself."""

    format: int
    application: str
    task: str


class RocksMemory:
    """The memory of all RocksDB instances of the process: one block cache, with the write buffers charged to it."""

    def __init__(self, total: int) -> None:
        """`total` in bytes; up to half of it may be taken by writes that are not on disk yet."""
        self.total = total
        self.cache = Cache(total)
        self.buffers = WriteBufferManager.new_write_buffer_manager_with_cache(total // 2, False, self.cache)

    @property
    def used(self) -> int:
        """Bytes in use: blocks and write buffers."""
        return self.cache.get_usage()


class RocksStore:
    """All persistent stores of one task. Used by one thread at a time."""

    def __init__(self, path: Path, app_id: str, task: str, memory: RocksMemory) -> None:
        """Opens the directory, making it if it is not there.

        Raises `WrongOwner`, `NewerFormat`, `Corrupt`, `Unusable` or `InUse`.
        """
        self._path = path
        self._task = task
        self._open = True
        self._scans: WeakSet[Iterator[Any]] = WeakSet()
        self._write_options = _without_log()
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._db = Rdict(str(path), _options(memory))
        except OSError as error:
            raise Unusable(f"{path} cannot be made: {error.strerror}", str(error.strerror)) from error
        except Exception as error:
            self._fail("opened", error)
        try:
            self._prefixes, self._position = self._read_meta(app_id, task)
        except BaseException:
            self._db.close()
            raise

    def get(self, store: str, key: bytes) -> bytes | None:
        prefix = self._prefixes.get(store)
        if prefix is None:
            return None
        try:
            return self._db.get(prefix + key)
        except Exception as error:
            self._fail("read", error)

    def get_many(self, store: str, keys: list[bytes]) -> list[bytes | None]:
        prefix = self._prefixes.get(store)
        if prefix is None:
            return [None] * len(keys)
        try:
            found: Any = self._db.get([prefix + key for key in keys])
        except Exception as error:
            self._fail("read", error)
        return found

    def scan(self, store: str, lo: bytes, hi: bytes | None, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        prefix = self._prefixes.get(store)
        if prefix is None or (hi is not None and hi <= lo):
            return iter(())
        options = ReadOptions()
        options.set_iterate_upper_bound(_end(prefix) if hi is None else prefix + hi)
        try:
            cursor = self._db.iter(options)
        except Exception as error:
            self._fail("read", error)
        entries = self._entries(cursor, prefix + lo, reverse, options)
        self._scans.add(entries)
        return entries

    def apply(self, changes: Iterable[Change], position: Position) -> None:
        batch = WriteBatch(raw_mode=True)
        put, delete = batch.put, batch.delete
        prefixes, known = self._prefixes, len(self._prefixes)
        for change in changes:
            prefix = prefixes.get(change.store)
            if prefix is None:
                prefixes = _with(prefixes, change.store)
                prefix = prefixes[change.store]
            if change.value is None:
                delete(prefix + change.key)
            else:
                put(prefix + change.key, change.value)
        if len(prefixes) > known:
            put(STORES, _encode_stores(prefixes))
        merged = self._position.merge(position)
        put(POSITION, msgspec.json.encode(merged))
        self._write(batch)
        self._prefixes, self._position = prefixes, merged

    def position(self) -> Position:
        return self._position

    def clear(self, store: str) -> None:
        position = self._position.without(store)
        batch = WriteBatch(raw_mode=True)
        prefix = self._prefixes.get(store)
        if prefix is not None:
            batch.delete_range(prefix, _end(prefix))
        batch.put(POSITION, msgspec.json.encode(position))
        self._write(batch)
        self._position = position

    def keep(self, stores: Collection[str]) -> list[str]:
        """Removes all stores but these and the engine's own, whose names begin with a dot; gives what was removed."""
        position = self._position
        known = self._prefixes.keys() | position.changelogs.keys()
        gone = sorted(name for name in known - set(stores) if not name.startswith("."))
        if gone:
            batch = WriteBatch(raw_mode=True)
            for name in gone:
                if name in self._prefixes:
                    batch.delete_range(self._prefixes[name], _end(self._prefixes[name]))
                position = position.without(name)
            prefixes = {name: prefix for name, prefix in self._prefixes.items() if name not in gone}
            batch.put(STORES, _encode_stores(prefixes))
            batch.put(POSITION, msgspec.json.encode(position))
            self._write(batch)
            self._prefixes, self._position = prefixes, position
        return gone

    def size(self) -> int:
        try:
            on_disk = self._db.property_int_value("rocksdb.total-sst-files-size") or 0
            return on_disk + (self._db.property_int_value("rocksdb.cur-size-all-mem-tables") or 0)
        except Exception as error:
            self._fail("measured", error)

    def flush(self, wait: bool = True) -> None:
        try:
            self._db.flush(wait)
        except Exception as error:
            self._fail("flushed", error)

    def close(self) -> None:
        """Flushes and lets go of the directory, whether that works or not. A second call does nothing."""
        if not self._open:
            return
        self._open = False
        for entries in list(self._scans):  # each holds the database open
            entries.close()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
        try:
            self._db.flush()
            self._db.close()
        except Exception as error:
            with suppress(Exception):  # the same again, and what matters was said by the first
                self._db.close()
            self._fail("closed", error)

    def _entries(
        self, cursor: RdictIter, first: bytes, reverse: bool, options: ReadOptions
    ) -> Iterator[tuple[bytes, bytes]]:
        # Three traps of rocksdict: the upper bound lies in the options' memory, so they must live as long as the cursor
        # (hence the parameter); set_iterate_lower_bound sets the upper bound, so `first` is compared here; and a cursor
        # that meets damage looks like one at its end, so it is asked (its `items` cannot be).
        cut = len(META)
        valid, get_key, get_value, step = (
            cursor.valid,
            cursor.key,
            cursor.value,
            cursor.prev if reverse else cursor.next,
        )
        try:
            if reverse:
                cursor.seek_to_last()
            else:
                cursor.seek(first)
            while valid():
                key: bytes = get_key()
                if key < first:
                    return
                yield key[cut:], get_value()
                step()
            cursor.status()
        except Exception as error:
            self._fail("read", error)

    def _write(self, batch: WriteBatch) -> None:
        try:
            self._db.write(batch, self._write_options)
        except Exception as error:
            self._fail("written", error)

    def _read_meta(self, app_id: str, task: str) -> tuple[dict[str, bytes], Position]:
        try:
            raw = self._db.get([ABOUT, STORES, POSITION])
            empty = next(iter(self._db.keys()), None) is None
        except Exception as error:
            self._fail("read", error)
        about, stores, position = raw if raw is not None else (None, None, None)
        if about is None:
            if not empty:
                raise Corrupt(f"{self._path} has entries and does not say whose they are", task)
            batch = WriteBatch(raw_mode=True)
            batch.put(ABOUT, msgspec.json.encode(About(FORMAT, app_id, task)))
            self._write(batch)
            return {}, Position()
        try:
            found = msgspec.json.decode(about, type=About)
            if found.format > FORMAT:
                raise NewerFormat(
                    f"{self._path} has format {found.format}, this Tidemill knows formats up to {FORMAT}: it was "
                    "written by a later version; upgrade, or remove the directory to restore from the changelogs"
                )
            if (found.application, found.task) != (app_id, task):
                raise WrongOwner(
                    f"{self._path} holds the state of task {found.task} of application {found.application!r}, not of "
                    f"task {task} of {app_id!r}: give each application a state directory of its own"
                )
            numbers = {} if stores is None else msgspec.json.decode(stores, type=dict[str, int])
            prefixes = {name: number.to_bytes(len(META), "big") for name, number in numbers.items()}
            return prefixes, Position() if position is None else msgspec.json.decode(position, type=Position)
        except (msgspec.DecodeError, OverflowError) as error:
            raise Corrupt(f"{self._path} does not say in a legible way what it holds: {error}", task) from error

    def _fail(self, doing: str, error: Exception) -> NoReturn:
        """rocksdict raises plain exceptions with RocksDB's text; what to do about them is in the text alone."""
        if isinstance(error, DbClosedError):
            raise StateError(f"{self._path} cannot be {doing}: it was closed") from error
        if type(error) is not Exception:
            raise error
        text = str(error)
        message = f"{self._path} cannot be {doing}: {text}"
        if f"{self._path}/LOCK: " in text:
            raise InUse(f"{message}; another store object has it open", 0) from error
        if text.startswith("IO error: No space left on device"):
            raise Unusable(
                f"{self._path} cannot be {doing}: the disk is full; make room there, or name another directory with "
                "the setting state_dir: what is missing in it is restored from the changelogs",
                "No space left on device",
            ) from error
        if "Too many open files" in text:
            limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            raise Unusable(
                f"{self._path} cannot be {doing}: this process has all the files open that it may have ({limit:,}). A "
                "task with state takes about seven: raise the limit (ulimit -n, LimitNOFILE= of systemd, --ulimit of "
                "Docker), or spread the tasks over more machines",
                "Too many open files",
            ) from error
        # Of files that RocksDB itself has written none may be missing.
        if text.startswith(("Corruption", "Invalid argument", "IO error: No such file or directory")):
            raise Corrupt(message, self._task) from error
        raise Unusable(message, text) from error


def _options(memory: RocksMemory) -> Options:
    table = BlockBasedOptions()
    table.set_block_cache(memory.cache)
    table.set_cache_index_and_filter_blocks(True)
    table.set_pin_l0_filter_and_index_blocks_in_cache(True)
    table.set_bloom_filter(10, False)
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_block_based_table_factory(table)
    options.set_write_buffer_manager(memory.buffers)
    options.set_write_buffer_size(min(LARGEST_WRITE_BUFFER, max(1 << 20, memory.total // 8)))
    options.set_max_write_buffer_number(2)
    options.set_memtable_whole_key_filtering(True)
    options.set_memtable_prefix_bloom_ratio(0.02)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_max_open_files(256)
    options.set_skip_stats_update_on_db_open(True)
    options.set_keep_log_file_num(1)
    options.set_stats_dump_period_sec(0)
    options.set_stats_persist_period_sec(0)
    return options


def _without_log() -> WriteOptions:
    options = WriteOptions()
    options.disable_wal = True  # pyright: ignore[reportAttributeAccessIssue]  # the stubs have it as a method
    return options


def _end(prefix: bytes) -> bytes:
    end = successor(prefix)
    assert end is not None
    return end


def _with(prefixes: dict[str, bytes], store: str) -> dict[str, bytes]:
    """The same and a number for one more store: one that nothing is stored under."""
    number = max((int.from_bytes(prefix, "big") for prefix in prefixes.values()), default=0) + 1
    if number > MAX_STORES:
        raise StateError(f"a task cannot have more than {MAX_STORES} stores")
    return {**prefixes, store: number.to_bytes(len(META), "big")}


def _encode_stores(prefixes: dict[str, bytes]) -> bytes:
    return msgspec.json.encode({name: int.from_bytes(prefix, "big") for name, prefix in prefixes.items()})

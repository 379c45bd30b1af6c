"""What is particular to RocksDB: options, and errors, which its text alone tells apart."""

from __future__ import annotations

import resource
from pathlib import Path
from threading import Lock

from rocksdict import (
    AccessType,
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    MemtableFactory,
    Options,
    WriteBufferManager,
    WriteOptions,
)

from .store import CorruptStore, InUse, StateError, Unusable

__all__ = ["RocksMemory", "access", "is_stalled", "options", "state_error", "write_options"]

LEAST_WRITE_BUFFER = 1 << 20
FEW_STORES = 4
"""Up to this many open databases share half of the memory in equal parts."""
LARGEST_WRITE_BUFFER = 16 << 20  # also bounds how much of a task a crash can lose, and so how much is replayed


class RocksMemory:
    """The memory of a process's RocksDB instances: one block cache that includes write buffers."""

    def __init__(self, total: int) -> None:
        """Allocate `total` bytes, of which writes that are not on disk yet may take up to half."""
        self.total = total
        self.cache = Cache(total)
        self.buffers = WriteBufferManager.new_write_buffer_manager_with_cache(total // 2, False, self.cache)
        self._stores = 0
        self._lock = Lock()

    def opened(self) -> int:
        """Count another open database; return the size of its write buffers.

        A buffer's first block and its filter are allocated in proportion to its size, before anything is written, so
        databases that are opened when there are many get small ones.
        """
        with self._lock:
            self._stores += 1
            share = self.total // 2 // max(self._stores, FEW_STORES)
        return min(LARGEST_WRITE_BUFFER, max(LEAST_WRITE_BUFFER, share))

    def closed(self) -> None:
        """Count one open database less."""
        with self._lock:
            self._stores -= 1

    @property
    def used(self) -> int:
        """Bytes in use: blocks and write buffers."""
        return self.cache.get_usage()


def options(memory: RocksMemory, write_buffer: int, *, create: bool = True, loading: bool = False) -> Options:
    """Return the options of a database with write buffers of this size in bytes.

    With `loading`, for many writes with hardly a read between them: written entries are kept in order of arrival, and
    sorted by a thread of RocksDB when they are written to disk, where a sorted list costs each write most of its time;
    and files are merged less often.
    """
    table = BlockBasedOptions()
    table.set_block_cache(memory.cache)
    table.set_cache_index_and_filter_blocks(True)
    table.set_pin_l0_filter_and_index_blocks_in_cache(True)
    table.set_bloom_filter(10, False)
    made = Options(raw_mode=True)
    made.create_if_missing(create)
    made.set_block_based_table_factory(table)
    made.set_write_buffer_manager(memory.buffers)
    made.set_write_buffer_size(write_buffer)
    made.set_arena_block_size(write_buffer // 64)
    if loading:
        made.set_memtable_factory(MemtableFactory.vector())
        made.set_allow_concurrent_memtable_write(False)
        made.set_max_write_buffer_number(4)
        made.set_level_zero_file_num_compaction_trigger(12)
        made.set_level_zero_slowdown_writes_trigger(24)
        made.set_level_zero_stop_writes_trigger(36)
    else:
        made.set_max_write_buffer_number(2)
        made.set_memtable_whole_key_filtering(True)
        made.set_memtable_prefix_bloom_ratio(0.02)
    made.set_compression_type(DBCompressionType.lz4())
    made.set_max_open_files(256)
    made.set_skip_stats_update_on_db_open(True)
    made.set_keep_log_file_num(1)
    made.set_stats_dump_period_sec(0)
    made.set_stats_persist_period_sec(0)
    return made


def access(*, read_only: bool) -> AccessType:
    """Return how a database is opened. A read-only one shares its directory."""
    return AccessType.read_only() if read_only else AccessType.read_write()


def write_options() -> WriteOptions:
    """Return how changes are written: without a log, and refused where RocksDB would wait."""
    made = WriteOptions()
    made.disable_wal = True  # pyright: ignore[reportAttributeAccessIssue]  # a method in the stubs
    made.no_slowdown = True
    return made


def is_stalled(error: Exception) -> bool:
    """Return whether a write was refused because RocksDB has to catch up with its work first."""
    return str(error).startswith("Result incomplete: Write stall")


def state_error(path: Path, task: str, doing: str, text: str) -> StateError:
    """Return the error for RocksDB's text about what it was `doing`, such as "opened" or "read"."""
    message = f"{path} cannot be {doing}: {text}"
    if f"{path}/LOCK: " in text:
        return InUse(f"{message}; another store object has the directory open", 0)
    if text.startswith("IO error: No space left on device"):
        return Unusable(
            f"{path} cannot be {doing}: the disk is full; make room there, or name another directory with the setting "
            "state_dir: missing state is restored from the changelogs",
            "No space left on device",
        )
    if "Too many open files" in text:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return Unusable(
            f"{path} cannot be {doing}: this process has reached its limit of open files ({limit:,}). A task with "
            "state takes about seven: raise the limit (ulimit -n, LimitNOFILE= of systemd, --ulimit of Docker), or "
            "spread the tasks over more machines",
            "Too many open files",
        )
    # A missing file is corruption too: RocksDB itself has written all of them.
    if text.startswith(("Corruption", "Invalid argument", "IO error: No such file or directory")):
        return CorruptStore(message, task)
    return Unusable(message, text)

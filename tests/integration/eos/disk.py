"""Read the contents of a store on disk directly from the files of RocksDB.

The layout is implemented here a second time on purpose: a directory has one RocksDB per task; in it each store has a
number, given by the entry `stores`; the key of an entry is that number in two bytes and the key; its value is a version
byte, eight bytes of event time and the value.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import ormsgpack
from rocksdict import AccessType, Options, Rdict

from . import feed

STORES = b"\x00\x00stores"
VERSION = 1


def key(raw: bytes) -> str:
    """Decode a text key of a store."""
    return raw.decode()


def value(raw: bytes) -> Any:
    """Decode an integer in a store: after version and event time eight bytes, or msgpack, which never takes eight."""
    if raw[0] != VERSION:
        raise ValueError(f"a stored value begins with {raw[0]}")
    inner = raw[9:]
    return feed.decode(inner) if len(inner) == 8 else ormsgpack.unpackb(inner)


def databases(root: Path) -> list[Path]:
    """Return the RocksDB directories below a directory."""
    return sorted(path.parent for path in root.rglob("CURRENT"))


def content(root: Path, store: str) -> dict[str, Any]:
    """Return all entries of a store, of all tasks below a directory."""
    found: dict[str, Any] = {}
    for path in databases(root):
        database = Rdict(str(path), Options(raw_mode=True), access_type=AccessType.read_only())
        try:
            listed: Any = database.get(STORES)
            number = msgspec.json.decode(listed or b"{}", type=dict[str, int]).get(store)
            if number is None:
                continue
            prefix = number.to_bytes(2, "big")
            entries: Any = database.items(from_key=prefix)
            for raw, stored in entries:
                if not raw.startswith(prefix):
                    break
                if key(raw[2:]) in found:
                    raise ValueError(f"key {key(raw[2:])!r} of store {store!r} is in two tasks")
                found[key(raw[2:])] = value(stored)
        finally:
            database.close()
    return found

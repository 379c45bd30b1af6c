"""The content of a store on disk, read from RocksDB's files alone.

The layout is written down here a second time on purpose: a directory holds a RocksDB for each task; in it each store
has a number, told by the entry `stores`; an entry's key is that number in two bytes and the key; its value is a version
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
    """A text key of a store."""
    return raw.decode()


def value(raw: bytes) -> Any:
    """An integer in a store: after version and event time eight bytes, or msgpack, which never has eight for one."""
    if raw[0] != VERSION:
        raise ValueError(f"a stored value begins with {raw[0]}")
    inner = raw[9:]
    return feed.decode(inner) if len(inner) == 8 else ormsgpack.unpackb(inner)


def databases(root: Path) -> list[Path]:
    """The RocksDB directories below a directory."""
    return sorted(path.parent for path in root.rglob("CURRENT"))


def content(root: Path, store: str) -> dict[str, Any]:
    """All entries of a store, of all tasks below a directory together."""
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

"""Write to a RocksStore until killed, in rounds; each round first checks the contents after the last one.

    killed_writer.py DIRECTORY ROUNDS SEED [loading]

Every commit n writes n under all keys of two stores and under one new key, with position n. Prints, as JSON, the
position that each round found. A child is forked for each round, from a parent that has never opened a database.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from tidemill.state.rocks import RocksMemory, RocksStore
from tidemill.state.store import Change, Position

KEYS = [b"key-%02d" % i for i in range(20)]
PADDING = b"x" * 200


def check(store):
    """Return the position; raise unless the data is that of exactly this position."""
    found = store.position()
    at = found.changelogs.get("sums", 0)
    assert found == (Position() if at == 0 else Position({"sums": at, "other": at}, {"views:0": at})), found
    expected = b"%d" % at + PADDING if at else None
    for name in ("sums", "other"):
        for key, value in zip(KEYS, store.get_many(name, KEYS), strict=True):
            assert value == expected, (at, name, key, value)
    assert store.get("sums", b"log-%d" % at) == (b"" if at else None)
    assert store.get("sums", b"log-%d" % (at + 1)) is None
    return at


def work(path, report, loading):
    store = RocksStore(path, "app", "0_0", RocksMemory(1 << 20))
    at = check(store)
    os.write(report, b"%d\n" % at)
    store.set_loading(loading)
    while True:
        at += 1
        value = b"%d" % at + PADDING
        changes = [Change(name, key, value) for name in ("sums", "other") for key in KEYS]
        changes.append(Change("sums", b"log-%d" % at, b""))
        store.apply(changes, Position({"sums": at, "other": at}, {"views:0": at}))


def main(path, rounds, seed, loading):
    chance = random.Random(seed)
    found = []
    for _ in range(rounds):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                work(path, write, loading)
            finally:
                os._exit(1)
        os.close(write)
        with os.fdopen(read) as reports:
            line = reports.readline()
            if line:
                found.append(int(line))
                time.sleep(chance.uniform(0.02, 0.08))
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            if os.waitstatus_to_exitcode(status) != -signal.SIGKILL or not line:
                raise SystemExit(f"round {len(found)}: the store was not consistent, or could not be written")
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), "loading" in sys.argv)

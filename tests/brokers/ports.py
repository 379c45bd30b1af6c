"""Reserve ports: outside the range of the system's ephemeral ports, and locked against other test runs.

A port found by binding to 0 is free only at that moment: while a broker is down, an outgoing connection may get its
port, and a client that tries to reconnect may even connect to itself. This process holds the lock until it ends, so a
killed run frees its ports.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

_LOWEST, _HIGHEST = 15000, 31999
_held: dict[int, int] = {}  # port -> descriptor of its lock
_lock = threading.Lock()


def _outgoing_range() -> tuple[int, int]:
    try:
        low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    except OSError:
        return 49152, 65535
    return int(low), int(high)


def _take(port: int) -> bool:
    directory = Path(tempfile.gettempdir()) / f"tidemill-ports-{os.getuid()}"
    directory.mkdir(exist_ok=True)
    descriptor = os.open(directory / str(port), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    except OSError:
        os.close(descriptor)
        return False
    _held[port] = descriptor
    return True


def reserve() -> int:
    """Reserve a port on 127.0.0.1 for this process until `release` or its end, whether or not it is in use."""
    low, high = _outgoing_range()
    candidates = [port for port in range(_LOWEST, _HIGHEST) if not low <= port <= high]
    with _lock:
        for port in random.SystemRandom().sample(candidates, min(500, len(candidates))):
            if port not in _held and _take(port):
                return port
    raise RuntimeError(f"no free port between {_LOWEST} and {_HIGHEST}")


def release(port: int) -> None:
    with _lock, suppress(KeyError):
        os.close(_held.pop(port))

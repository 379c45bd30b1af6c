"""The limit of files that this process may have open: raised as far as the system allows without being asked.

A task with state takes some seven files, each connection one. Where the limit of a login shell (often 1,024) is met,
RocksDB fails in the middle of its work; programs that know `select` alone are why that limit is low, and Tidemill uses
none. The Go runtime raises it in the same way (https://go.dev/doc/go1.19#runtime).
"""

from __future__ import annotations

import resource
from contextlib import suppress
from typing import Final

__all__ = ["raise_limit"]

ENOUGH: Final = 1 << 16


def raise_limit() -> None:
    """Raises the soft limit up to the hard one, as far as it is of use. Processes started from now on inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):  # macOS has a lower limit of its own beside the hard one
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

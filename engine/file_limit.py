"""The limit of open files of this process, raised as far as the system allows.

A task with state needs about seven files, each connection one. When the limit of a login shell (often 1,024) is
reached, RocksDB fails in the middle of its work. The limit is low only for programs that use `select`, which Tidemill
does not. The Go runtime raises it in the same way (https://go.dev/doc/go1.19#runtime).
"""

from __future__ import annotations

import resource
from contextlib import suppress
from typing import Final

__all__ = ["raise_limit"]

ENOUGH: Final = 1 << 16


def raise_limit() -> None:
    """Raise the soft limit up to the hard one, as far as it is useful.

    Processes started afterwards inherit it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):  # macOS has another limit, lower than the hard one
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

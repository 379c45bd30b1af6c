"""What the errors of fsspec's file systems mean. Pure.

Their clients raise what they like: errors of Python, of HTTP with a status, and those of Hadoop's name node as text.
"""

from __future__ import annotations

import re

from .storage import Stopped

__all__ = ["is_lasting", "is_starting", "reason"]

FINAL = (FileNotFoundError, PermissionError, FileExistsError, NotADirectoryError, IsADirectoryError, Stopped)
REFUSED = (401, 403, 404)
RPC = re.compile(r'RPCError\("([\w.$]+)", "(.*)"\)', re.DOTALL)
FINAL_EXCEPTIONS = ("AccessControlException", "ParentNotDirectoryException", "InvalidPathException")
STARTING_EXCEPTIONS = ("SafeModeException",)


def is_lasting(error: object) -> bool:
    """Return whether trying again would not help."""
    status = getattr(error, "status_code", None) or getattr(error, "code", None)
    return isinstance(error, FINAL) or status in REFUSED or _exception(error).endswith(FINAL_EXCEPTIONS)


def is_starting(error: object) -> bool:
    """Return whether the store is not ready yet, but will be.

    A name node in safe mode waits for its data nodes.
    """
    return _exception(error).endswith(STARTING_EXCEPTIONS)


def reason(error: BaseException) -> str:
    """Return what an error says, in one line, without the stack of a server."""
    rpc = RPC.search(str(error))
    text = rpc[2].replace("\\n", "\n").replace("\\t", "\t").replace('\\"', '"') if rpc else str(error)
    lines = [line.strip() for line in text.partition("\n\tat ")[0].splitlines()]
    return " ".join(line for line in lines if line) or type(error).__name__


def _exception(error: object) -> str:
    """Return the class that a name node named, or ""."""
    rpc = RPC.search(str(error))
    return rpc[1] if rpc else ""

"""Error policies: what happens to a record that a step could not process.

A policy is a value; the task applies it. `fail` stops the program before the record is committed, so nothing is lost;
`skip` drops the record, counts and logs it, and continues with the next one.
"""

from __future__ import annotations

import enum
from typing import Final

__all__ = ["ErrorPolicy", "fail", "skip"]


class ErrorPolicy(enum.Enum):
    """What a task does with a record that a step cannot process: `tm.fail` or `tm.skip`.

    Example:
        >>> policy: tm.ErrorPolicy = tm.skip
    """

    FAIL = "fail"
    SKIP = "skip"


fail: Final = ErrorPolicy.FAIL
"""Stops the program at a record that cannot be processed; nothing of it is committed.

The message names the step and the record. This is the default.

Example:
    >>> app = tm.App("views", on_error=tm.fail)
"""
skip: Final = ErrorPolicy.SKIP
"""Drops a record that cannot be processed, counts it, and continues with the next one.

It is counted in `tidemill_records_dropped_total` and named in the log, a few times per minute.

Example:
    >>> pieces = orders.map(lambda order: order["pieces"]).on_error(tm.skip)
"""

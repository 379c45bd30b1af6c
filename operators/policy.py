"""What happens to a record that a step could not process.

A policy is a value; the task applies it. `fail` stops the program before the record is committed, so nothing is lost;
`skip` drops the record, counts and logs it, and goes on with the next one.
"""

from __future__ import annotations

import enum
from typing import Final

__all__ = ["ErrorPolicy", "fail", "skip"]


class ErrorPolicy(enum.Enum):
    """What a task does with a record that failed."""

    FAIL = "fail"
    SKIP = "skip"


fail: Final = ErrorPolicy.FAIL
"""Stop the program, naming step and record; nothing of the record is committed. The default."""
skip: Final = ErrorPolicy.SKIP
"""Drop the record, count it in `tidemill_records_dropped_total`, name it in the log (a few per minute), and go on."""

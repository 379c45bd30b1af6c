"""How long tests wait before they fail.

Timeouts of tests are for a machine that does little else. CI runs on shared machines, where a process may get a tenth
of a processor for minutes, and that is no fault of the code. Times that a test compares are not changed.
"""

from __future__ import annotations

import os
from typing import Final

__all__ = ["PATIENCE"]

PATIENCE: Final = float(os.environ.get("TIDEMILL_TEST_PATIENCE", "3"))
"""The factor of timeouts; with 1, a test that stands still fails sooner."""

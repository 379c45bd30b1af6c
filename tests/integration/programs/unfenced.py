"""Echo, minimum and sum as in `echo_min_sum.py`, by a process that fences nobody: what would be without fencing."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from tidemill.engine.group import membership, orphans, session


async def nobody(*_: Any) -> None:
    """Leaves what the dead have left open."""


membership.fence = session.fence = orphans.fence_exactly = nobody
runpy.run_path(str(Path(__file__).with_name("echo_min_sum.py")), run_name="__main__")

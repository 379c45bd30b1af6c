"""Echo, minimum and sum as in `echo_min_sum.py`, by a process without fencing, to show its effect."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from tidemill.engine.group import membership, orphans, session


async def nobody(*_: Any) -> None:
    """Leave the open transactions of dead processes."""


membership.fence = session.fence = orphans.fence_exactly = nobody
runpy.run_path(str(Path(__file__).with_name("echo_min_sum.py")), run_name="__main__")

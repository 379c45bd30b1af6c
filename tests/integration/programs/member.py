"""A group member in a separate process: opens and releases tasks, prints losses, runs until it is killed.

Usage: member.py BOOTSTRAP GROUP [SESSION_MS [STALL]]

With STALL, a leader of at least that many members never sends the assignment, so that a kill hits it in a rebalance.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

import tidemill.engine.group.leader as leading
from tests.integration.crew import Crew

bootstrap, group, *rest = sys.argv[1:]
stall = int(rest[1]) if len(rest) > 1 else 1_000
assign = leading.assign


def stalling(members: Sequence[Any], *more: Any) -> Any:
    if len(members) >= stall:
        print("stalling", flush=True)
        time.sleep(600)
    return assign(members, *more)


leading.assign = stalling
crew = Crew(bootstrap, group)
hand = crew.add(session_timeout=int(rest[0]) if rest else 30_000, heartbeat_interval=500)
hand.size = 0
while True:
    heard = len(hand.losses)
    crew.turn()
    if len(hand.losses) > heard:
        print("lost", hand.losses[-1].why, flush=True)
    time.sleep(0.01)

"""A member of a group in a process of its own: opens and releases tasks, prints losses, runs until it is killed.

Usage: member.py BOOTSTRAP GROUP [SESSION_MS]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from tests.integration.crew import Crew

bootstrap, group, *rest = sys.argv[1:]
crew = Crew(bootstrap, group)
hand = crew.add(session_timeout=int(rest[0]) if rest else 30_000, heartbeat_interval=500)
hand.size = 0
while True:
    heard = len(hand.losses)
    crew.turn()
    if len(hand.losses) > heard:
        print("lost", hand.losses[-1].why, flush=True)
    time.sleep(0.01)

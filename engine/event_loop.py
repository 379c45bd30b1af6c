"""Runs an event loop to its end, so that nothing it has opened stays open.

As `asyncio.run`, for a loop that other threads already know: they may have started coroutines on it that are still
under way when the main one ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Final

__all__ = ["cancel_others", "run_to_end"]

LAST_SECONDS: Final = 5.0
"""How long cancelled coroutines may take to end."""


def run_to_end(loop: asyncio.AbstractEventLoop, main: Coroutine[object, object, None]) -> None:
    """Run a coroutine; when it ends, cancel what else is under way, and close the loop."""
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(main)
    finally:
        try:
            loop.run_until_complete(cancel_others())
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()


async def cancel_others() -> None:
    """Cancel all other tasks of the running loop, and wait for their end."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        ended, _ = await asyncio.wait(others, timeout=LAST_SECONDS)
        for task in ended:
            if not task.cancelled():
                task.exception()  # otherwise asyncio logs that it was never retrieved

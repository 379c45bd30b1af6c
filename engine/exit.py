"""Exits the process with its exit code, even if threads of the program are still running.

Before a process ends, Python waits for all threads that are not daemons, and calls functions registered with `atexit`.
A program's thread that never ends would keep a process alive that no longer processes anything, and no service manager
would restart it.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from functools import partial
from typing import Final, NoReturn

from .threads import Thread

__all__ = ["exit_process"]

TIMEOUT_SECONDS: Final = 5.0
"""How long threads of the program may take to end by themselves."""
LOOK_SECONDS: Final = 0.1


def exit_process(code: int, deadline: float = TIMEOUT_SECONDS) -> NoReturn:
    """Exit with this code, as `sys.exit`; in the main thread, within `deadline` seconds.

    If the program catches SystemExit and continues, nothing else happens.
    """
    if threading.current_thread() is threading.main_thread():
        Thread("tidemill-exit", partial(end_after, code, deadline)).start()
    sys.exit(code)


def end_after(code: int, deadline: float) -> None:
    """End the process `deadline` seconds after Python has begun to end it."""
    main = threading.main_thread()
    while not ending() and main.is_alive():
        time.sleep(LOOK_SECONDS)
    left = [it.name for it in threading.enumerate() if it is not main and not it.daemon]
    waiting = f"waiting up to {deadline:g} s for threads of the program: {', '.join(left)}"
    if left:
        os.write(2, f"{waiting} (a thread with daemon=True is not waited for)\n".encode())
    time.sleep(deadline)
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def ending() -> bool:
    """Return whether Python has begun to end.

    `threading` notes it before it calls and joins anything.
    """
    return getattr(threading, "_SHUTTING_DOWN", False)

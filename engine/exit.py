"""The end of a process: with its exit code, whatever threads the program has left running.

Python waits for all threads that are not daemons, and calls what was registered with `atexit`, before a process ends. A
thread of the program's own that never ends would keep a process alive that no longer processes anything, and no service
manager would start it again.
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

__all__ = ["leave"]

PATIENCE_SECONDS: Final = 5.0
"""How long threads of the program may take to end by themselves."""
LOOK_SECONDS: Final = 0.1


def leave(code: int, patience: float = PATIENCE_SECONDS) -> NoReturn:
    """Exits with this code, as `sys.exit`. In the main thread the process then ends within `patience` seconds.

    Nothing happens to a program that catches SystemExit and goes on.
    """
    if threading.current_thread() is threading.main_thread():
        Thread("tidemill-exit", partial(see_to, code, patience)).start()
    sys.exit(code)


def see_to(code: int, patience: float) -> None:
    """Ends the process `patience` seconds after Python has begun to end it."""
    main = threading.main_thread()
    while not ending() and main.is_alive():
        time.sleep(LOOK_SECONDS)
    left = [it.name for it in threading.enumerate() if it is not main and not it.daemon]
    waiting = f"waiting up to {patience:g} s for threads of the program: {', '.join(left)}"
    if left:
        os.write(2, f"{waiting} (a thread with daemon=True is not waited for)\n".encode())
    time.sleep(patience)
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def ending() -> bool:
    """Whether Python has begun to end: `threading` notes it before it calls and joins anything."""
    return getattr(threading, "_SHUTTING_DOWN", False)

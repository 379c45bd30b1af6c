"""For processes under libfaketime, which refuses to sleep until a moment of the monotonic clock, as Python's sleep does.

Python imports this by itself when the folder is on its path.
"""

import select
import time


def sleep(seconds: float) -> None:
    select.select([], [], [], seconds)


time.sleep = sleep

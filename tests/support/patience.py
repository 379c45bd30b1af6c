"""How long tests wait before they fail.

Timeouts of tests are for a machine that does little else. CI runs on shared machines, where a process may get a tenth
of a processor for minutes, and that is no fault of the code. Times that a test compares are not changed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final, TypeVar

from confluent_kafka import KafkaException

__all__ = ["PATIENCE", "wait_for"]

T = TypeVar("T")

PATIENCE: Final = float(os.environ.get("TIDEMILL_TEST_PATIENCE", "3"))
"""The factor of timeouts; with 1, a test that stands still fails sooner."""


def wait_for(condition: Callable[[], T], timeout: float, what: str) -> T:
    """Call `condition` until its result is true, and return the result.

    The TimeoutError states `what` and the last result. Kafka errors count as false.
    """
    timeout *= PATIENCE
    deadline = time.monotonic() + timeout
    last: object = None
    while True:
        try:
            answer = condition()
            if answer:
                return answer
            last = answer
        except KafkaException as error:
            last = error
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout:g} s for {what}; the last result was {last!r}")
        time.sleep(0.1)

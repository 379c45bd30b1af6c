"""Calls of the Kafka client that may never return, whatever time-out they were given.

`send_offsets_to_transaction` is one: when the group's coordinator dies while a request is on its way to it, and the
cluster's metadata forgets that broker before the request has timed out, librdkafka drops the request without an answer
and goes on waiting for one (https://github.com/confluentinc/librdkafka/issues/5511 is a case of it). Nothing but the
call itself is stuck.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from typing import TypeVar

from ..errors import Retryable

__all__ = ["bounded"]

T = TypeVar("T")


def bounded(call: Callable[[], T], seconds: float, doing: str) -> T:
    """What the call gives or raises; Retryable when it has not returned after so many seconds.

    Then it goes on in a thread of its own, perhaps for ever, and with it whatever it holds: the caller must throw the
    client away and make another.
    """
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(call())
        except BaseException as failure:
            outcome.set_exception(failure)

    threading.Thread(target=run, name="tidemill-bounded", daemon=True).start()
    try:
        return outcome.result(seconds)
    except NotInTime as failure:
        if outcome.done():
            raise
        raise Retryable(f"could not {doing}: the Kafka client did not come back within {seconds:g} s") from failure

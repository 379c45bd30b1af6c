"""Calls of the Kafka client that may never return, whatever timeout they were given.

`send_offsets_to_transaction` is one: if the group's coordinator dies while a request to it is in flight, and the
cluster's metadata drops that broker before the request has timed out, librdkafka discards the request without an answer
and continues to wait for one (https://github.com/confluentinc/librdkafka/issues/5511 is a case of it). Only the call
itself is stuck.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from typing import TypeVar

from ..errors import Retryable

__all__ = ["call_with_deadline"]

T = TypeVar("T")


def call_with_deadline(call: Callable[[], T], seconds: float, doing: str) -> T:
    """Return or raise the outcome of a call; raise Retryable if it takes too long.

    The call then continues in its own thread, perhaps forever, with everything it holds: the caller must discard the
    client and create another.
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
        raise Retryable(f"could not {doing}: the Kafka client did not return within {seconds:g} s") from failure

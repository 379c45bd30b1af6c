"""Stopping a process by signals.

The first SIGTERM or SIGINT requests a clean stop: finish the batch, commit, close, exit 0. The second one, or a stop
that takes too long, ends the process at once, without a commit, with exit code 130; nothing is lost, because the next
start continues from the last commit. A worker also stops cleanly when its supervisor is gone.

Python runs signal handlers in the main thread, between two of its instructions. A main thread that waits inside the
Kafka client for unreachable brokers would notice neither the second signal nor the limit, so a separate thread handles
both.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, Final

from typing_extensions import Self

from .errors import EXIT_INTERRUPTED, ConfigError
from .threads import Thread

__all__ = ["STOPPING", "StopSignals", "stop_with_parent"]

STOPPING: Final = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """While entered, a call returns whether a clean stop was requested.

    A clean stop may take `limit` ms. With `children`, the death of a child process ends a `wait` too. With `at_once`
    false, further signals are only counted, in `asked`. Python delivers signals only to the main thread, so creating
    one in another thread raises ConfigError.
    """

    def __init__(self, *, limit: int | None = None, children: bool = False, at_once: bool = True) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise ConfigError(
                "an application runs in the main thread of its process, where Python delivers SIGTERM and SIGINT, not "
                f"in the thread {threading.current_thread().name!r}: run it in a separate process, with `tidemill run "
                "MODULE:APP` or multiprocessing.Process(target=app.main)"
            )
        self.asked = 0
        self._limit = limit
        self._children = children
        self._at_once = at_once
        self._too_late: threading.Timer | None = None
        self._before: dict[signal.Signals, Any] = {}
        self._wakeup_before = -1
        self._once_asked: list[Callable[[], None]] = []
        self._woken = threading.Event()
        self._receive, self._send = socket.socketpair()
        self._listener = Thread("tidemill-signals", self._listen)

    def __enter__(self) -> Self:
        self._send.setblocking(False)
        self._listener.start()
        self._wakeup_before = signal.set_wakeup_fd(self._send.fileno(), warn_on_full_buffer=False)
        for number in STOPPING:
            self._before[number] = signal.signal(number, self._handle)
        if self._children:
            self._before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda number, frame: None)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        self._send.close()
        self._listener.join()
        self._receive.close()
        if self._too_late is not None:
            self._too_late.cancel()

    def __call__(self) -> bool:
        """Return whether a clean stop was requested."""
        return self.asked > 0

    def wait(self, seconds: float) -> None:
        """Wait for this time, or until a signal arrives."""
        self._woken.wait(seconds)
        self._woken.clear()

    def once_asked(self, action: Callable[[], None]) -> None:
        """Call `action` in another thread as soon as a stop is requested: the main one may be busy."""
        self._once_asked.append(action)
        if self.asked:
            action()

    def wake(self) -> None:
        """End a `wait`, from any thread."""
        with suppress(OSError):  # full, so it wakes anyway, or closed
            self._send.send(b"\0")

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.asked += 1

    def _listen(self) -> None:
        """Run in the thread: receive a byte per signal, whatever the main thread is doing."""
        heard = 0
        while numbers := self._receive.recv(1):
            if numbers[0] in STOPPING:
                heard += 1
                if heard == 1:
                    for action in self._once_asked:
                        action()
                if heard == 1 and self._limit is not None:
                    self._too_late = threading.Timer(
                        self._limit / 1000, end_now, ["the stop took longer than stop_timeout"]
                    )
                    self._too_late.daemon = True
                    self._too_late.start()
                if heard > 1 and self._at_once:
                    end_now("stopped by a second signal")
            self._woken.set()


def end_now(why: str) -> None:
    """End the process without a commit; the next start processes uncommitted input again."""
    os.write(2, f"{why}: ended at once, without a commit\n".encode())
    os._exit(EXIT_INTERRUPTED)


def stop_with_parent(descriptor: int) -> threading.Event:
    """Stop this process cleanly when its owner is gone.

    Then the other end of an inherited pipe closes. The event is set whenever the owner writes something.
    """
    nudged = threading.Event()

    def watch() -> None:
        while os.read(descriptor, 1):
            nudged.set()
        os.kill(os.getpid(), signal.SIGTERM)

    Thread("tidemill-parent", watch).start()
    return nudged

"""The messages of a command in one attempt. The last one is repeated as a sign of life."""

from __future__ import annotations

from ..clock import Clock
from .mailbox import Mailbox
from .messages import Command

__all__ = ["CommandSender"]

BEAT_MS = 2_000


class CommandSender:
    """Writes the messages of an attempt. Its methods raise StorageError."""

    def __init__(self, mailbox: Mailbox, attempt: str, clock: Clock) -> None:
        self._mailbox = mailbox
        self._attempt = attempt
        self._clock = clock
        self._last: Command | None = None
        self._at = 0

    @property
    def began(self) -> bool:
        """Whether there was a message."""
        return self._last is not None

    def tell(self, command: Command) -> None:
        """Write a message."""
        self._last = command
        self._mailbox.command(self._attempt, command)
        self._at = self._clock.monotonic()

    def beat(self) -> None:
        """Repeat the last message, if it is due."""
        if self._last is not None and self._clock.monotonic() - self._at >= BEAT_MS:
            self.tell(self._last)

    def end(self) -> None:
        """Let the processes go on, and remove the messages."""
        if self._last is not None:
            self._mailbox.command(self._attempt, Command("end"))
        self._mailbox.clear(self._attempt)

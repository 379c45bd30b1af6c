"""Messages between the command and the processes, in the snapshot store.

Each message is a small file that is written once. A writer deletes its earlier messages, a reader uses the newest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from ..snapshots.storage import Missing, Storage, StorageError
from .messages import COMMAND, Command, Report, command_name, mail_folder, parse_name, report_name

__all__ = ["Mail", "Mailbox"]

M = TypeVar("M", Command, Report)


@dataclass(frozen=True)
class Mail:
    """The newest messages of one attempt."""

    number: int = -1
    """Of the command's message."""
    command: Command | None = None
    reports: Mapping[str, tuple[int, Report]] = field(default_factory=dict[str, tuple[int, Report]])
    """The newest report of each process, with its number."""


class Mailbox:
    """The messages of one application. Used by one thread."""

    def __init__(self, storage: Storage, application: str) -> None:
        self._storage = storage
        self._folder = mail_folder(application)
        self._read: dict[str, Command | Report] = {}
        self._numbers: dict[tuple[str, str], int] = {}
        """The number of the last message that was written here, by attempt and writer."""

    def look(self, *, reports: str = "") -> dict[str, Mail]:
        """Return the messages by attempt, with the reports of one attempt. Raises StorageError."""
        newest: dict[tuple[str, str], tuple[int, str]] = {}
        for path in self._storage.list(self._folder):
            found = parse_name(path[len(self._folder) + 1 :])
            if found is not None and (found[1] == COMMAND or found[0] == reports):
                attempt, writer, number = found
                newest[attempt, writer] = max(newest.get((attempt, writer), (-1, "")), (number, path))
        self._read = {path: self._read[path] for _, path in newest.values() if path in self._read}
        mails: dict[str, Mail] = {}
        for (attempt, writer), (number, path) in sorted(newest.items()):
            mail = mails.get(attempt, Mail())
            if writer == COMMAND:
                command = self._message(path, Command)
                mails[attempt] = Mail(number, command, mail.reports) if command is not None else mail
            else:
                report = self._message(path, Report)
                more = {} if report is None else {writer: (number, report)}
                mails[attempt] = Mail(mail.number, mail.command, {**mail.reports, **more})
        return mails

    def command(self, attempt: str, command: Command) -> None:
        """Write a command's message. Raises StorageError."""
        self._write(attempt, COMMAND, command)

    def report(self, attempt: str, report: Report) -> int:
        """Write a report, and return its number. Raises StorageError."""
        return self._write(attempt, report.process, report)

    def clear(self, attempt: str) -> None:
        """Delete all messages of an attempt, the command's own last. Raises StorageError."""
        paths = sorted(self._storage.list(f"{self._folder}/{attempt}"), key=lambda path: f"/{COMMAND}-" in path)
        self._storage.delete(paths)

    def _message(self, path: str, kind: type[M]) -> M | None:
        known = self._read.get(path)
        if isinstance(known, kind):
            return known
        try:
            found = msgspec.json.decode(self._storage.read(path), type=kind)
        except Missing:  # deleted since it was listed: there is a newer one
            return None
        except msgspec.DecodeError as error:
            where = f"{self._storage.url}/{path}"
            raise StorageError(f"{where} is no message of this version of Tidemill: {error}") from error
        self._read[path] = found
        return found

    def _write(self, attempt: str, writer: str, message: Command | Report) -> int:
        number = self._numbers.get((attempt, writer), -1) + 1
        name, before = (
            command_name(attempt, it) if writer == COMMAND else report_name(attempt, writer, it)
            for it in (number, number - 1)
        )
        if not self._storage.put_new(f"{self._folder}/{name}", msgspec.json.encode(message)):
            raise StorageError(f"{self._storage.url}/{self._folder}/{name} was written by another process")
        self._numbers[attempt, writer] = number
        if number:
            self._storage.delete([f"{self._folder}/{before}"])
        return number

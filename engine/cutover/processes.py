"""The processes of one application, as the command talks to them in a cut-over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from ...state.topic_partition import TopicPartition
from ..clock import Clock
from ..errors import ConfigError, TidemillError
from ..savepoints.command_sender import CommandSender
from ..savepoints.creation import GroupOffsets
from ..savepoints.cut import Complete, Incomplete, gathered, offsets_in
from ..savepoints.mailbox import Mailbox
from ..savepoints.messages import Command, InputOffset, Report
from ..snapshots.savepoint import SavepointSubTopology
from ..snapshots.storage import Storage

__all__ = ["CutoverFailed", "Processes"]

VIEW_MS = 1_000


class CutoverFailed(TidemillError):
    """This attempt cannot succeed; the text says why."""


class Processes:
    """The processes of an application in one attempt."""

    def __init__(
        self, storage: Storage, application: str, other: str, attempt: str, groups: GroupOffsets, clock: Clock
    ) -> None:
        self.application = application
        self._other = other
        self._attempt = attempt
        self._groups = groups
        self._clock = clock
        self._mailbox = Mailbox(storage, application)
        self._sender = CommandSender(self._mailbox, attempt, clock)
        self._viewed = clock.monotonic() - VIEW_MS
        self._members: frozenset[str] = frozenset()
        self._named: Mapping[str, int] = {}
        self._step = 0
        self.gathered: dict[str, Report] = {}
        """The reports of the processes that run tasks."""

    @property
    def parts(self) -> Sequence[SavepointSubTopology]:
        """The sub-topologies of the application, as its processes have reported them."""
        return next((report.subtopologies for report in self.gathered.values()), ())

    def gather(self) -> Complete | Incomplete:
        """Ask which process runs which tasks. Raises ConfigError if none does, or StorageError."""
        if not self._sender.began:
            self._sender.tell(Command("gather", cutover=self._other))
        now = self._clock.monotonic()
        if now - self._viewed >= VIEW_MS:
            self._viewed, self._members = now, self._view()
        reports = self._reports()
        for process, (_, report) in reports.items():
            if report.phase == "failed" and process in self._members:
                raise CutoverFailed(f"process {process[:8]} of {self.application}: {report.why}")
        found = gathered(reports, self._members)
        if isinstance(found, Incomplete):
            return Incomplete(f"{self.application}: {found.why}")
        self._named = found.named
        self.gathered = {name: reports[name][1] for name in found.named}
        return found

    def hold(self, ms: int, ends: Mapping[TopicPartition, int] | None = None) -> None:
        """Have all tasks held for `ms` at the most; with `ends`, when they have read so far."""
        self._next("hold", ms, ends or {})

    def run(self, ms: int, ends: Mapping[TopicPartition, int]) -> None:
        """Have all tasks, which are held, run up to these offsets of the inputs."""
        self._next("run", ms, ends)

    def stand(self) -> None:
        """Have all tasks, which are held, commit that they stand still."""
        self._next("stand", 0, {})

    def answered(self, phase: Literal["held", "done"]) -> Complete | Incomplete:
        """Return whether all have answered to the last step. Raises as `check` does."""
        reports = self.check()
        waiting = [name for name in sorted(self._named) if not _answers(reports.get(name), phase, self._step)]
        if waiting:
            names = ", ".join(name[:8] for name in waiting)
            return Incomplete(f"no answer from process {names} of {self.application}")
        return Complete({})

    def check(self) -> Mapping[str, tuple[int, Report]]:
        """Return the reports. Raises CutoverFailed if a process has failed, or StorageError."""
        reports = self._reports()
        for process in sorted(self._named):
            _, report = reports.get(process, (-1, None))
            if report is not None and report.phase == "failed":
                raise CutoverFailed(f"process {process[:8]} of {self.application}: {report.why}")
        return reports

    def offsets(self) -> dict[TopicPartition, int]:
        """Return the offsets at which tasks are held. Raises StorageError."""
        return offsets_in(self._named, self._reports())

    def clear_earlier(self) -> None:
        """Remove what earlier commands have left, which cannot go on. Raises StorageError."""
        for attempt, mail in self._mailbox.look().items():
            if mail.command is not None and mail.command.cutover == self._other:
                self._mailbox.clear(attempt)

    def beat(self) -> None:
        """Repeat the last message as a sign of life, if it is due. Raises StorageError."""
        self._sender.beat()

    def end(self) -> None:
        """Let the processes go on, and remove the messages. Raises StorageError."""
        self._sender.end()

    def _next(self, phase: Literal["hold", "run", "stand"], ms: int, ends: Mapping[TopicPartition, int]) -> None:
        self._step += 1
        wanted = tuple(InputOffset(*key, at) for key, at in sorted(ends.items()))
        self._sender.tell(Command(phase, self._named, ms, self._other, self._step, wanted))

    def _reports(self) -> Mapping[str, tuple[int, Report]]:
        mail = self._mailbox.look(reports=self._attempt).get(self._attempt)
        if mail is None:
            raise CutoverFailed("this command stood still, and another one has taken it for dead")
        return mail.reports

    def _view(self) -> frozenset[str]:
        view = self._groups.view(self.application)
        if not view.members:
            raise ConfigError(
                f"{self.application} does not run: the group has no members. Both versions take part in a cut-over: "
                "start it, and call this again"
            )
        return frozenset(member.process for member in view.members if member.process)


def _answers(found: tuple[int, Report] | None, phase: str, step: int) -> bool:
    return found is not None and found[1].phase == phase and found[1].step == step

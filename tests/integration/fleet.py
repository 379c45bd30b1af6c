"""Several instances of an application, with separate state directories, continuous input, and an observed output.

The base of fault tests: the group shows which instance has which partitions, the `Watch` what a consumer sees, and the
verifier at the end whether the results are correct.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from tests.brokers import client

from .eos import check, feed, read
from .program import Life, Program
from .stage import Stage
from .watch import Moment, Watch

PARTITIONS = 4
RATE = 300
TOPICS = ("data", "echo", "min", "sum")


class Fleet:
    """Instances of `programs/echo_min_sum.py`."""

    def __init__(self, stage: Stage, **settings: Any) -> None:
        """`settings` apply to every instance."""
        self.stage = stage
        self._settings = {"session_timeout": "30s", "commit_interval": "200ms", **settings}
        stage.topics(*TOPICS, partitions=PARTITIONS)
        self.watch = Watch(stage.broker, stage.name("echo"), PARTITIONS)
        self.feed = feed.Feed(stage.broker, stage.name("data"), rate=RATE, seed=1, keys=200)
        self._running = ExitStack()

    def __enter__(self) -> Fleet:
        self._running.enter_context(self.watch)
        self._running.enter_context(self.feed)
        return self

    def __exit__(self, *raised: Any) -> None:
        self._running.__exit__(*raised)

    def instance(self, name: str, module: str = "echo_min_sum.py", **settings: Any) -> Program:
        """Add an instance with additional settings."""
        more = {**self._settings, "state_dir": self.stage.directory / name / "state", **settings}
        return self.stage.program(module, name=name, **more)

    def start(self, *programs: Program) -> list[Life]:
        """Start instances one after the other, and wait until each has its share and all partitions have results.

        The last one then has received its tasks from the others.
        """
        lives: list[Life] = []
        for program in programs:
            lives.append(program.start())
            lives[-1].wait_for('"replayed":', 60)
        self.wait_until_shared(len(programs))
        self.watch.wait_until_back(Moment(), 60)
        return lives

    def assigned(self) -> list[set[int]]:
        """Return the input partitions of each member, according to the group."""
        name = self.stage.name("data")
        return [
            {place.partition for place in member.assignment.topic_partitions if place.topic == name}
            for member in client.members(self.stage.broker, self.stage.app_id)
        ]

    def wait_until_shared(self, members: int, timeout: float = 60.0) -> None:
        """Wait until this number of members share all partitions evenly."""

        def shared() -> bool:
            sizes = [len(each) for each in self.assigned()]
            return len(sizes) == members and sum(sizes) == PARTITIONS and max(sizes) - min(sizes) <= 1

        client.wait_for(shared, timeout, f"{members} members to share the partitions")

    def kill_in_transaction(self, life: Life) -> Moment:
        """Kill an instance (SIGKILL) with an open transaction: pause it until it certainly has one."""
        mine = {int(task.removeprefix("0_")) for task in readied(life)}
        echo = self.stage.name("echo")

        def caught() -> bool:
            life.child.pause()
            if mine <= client.undecided(self.stage.broker, echo).keys():
                return True
            life.child.resume()
            return False

        client.wait_for(caught, 60, "an open transaction")
        life.child.send_signal(signal.SIGKILL)
        return Moment()

    def stop(self, lives: Sequence[Life]) -> None:
        """Stop the input, wait until everything is committed, and stop the instances, which must end cleanly."""
        self.feed.stop()
        self.stage.wait_until_committed("data", 90)
        for life in lives:
            life.child.terminate()
        codes = [life.exit(40) for life in lives]
        assert codes == [0] * len(lives)

    def judge(self) -> None:
        """Fail unless every input was processed exactly once."""
        broker, name = self.stage.broker, self.stage.name
        made = read.rows(broker, name("data"), bytes.decode, feed.decode)
        folds: dict[str, Callable[[list[check.Row]], list[check.Row]]] = {
            "echo": lambda rows: rows,
            "min": lambda rows: check.running(rows, check.smallest),
            "sum": lambda rows: check.running(rows, check.total),
        }
        findings: list[str] = []
        for topic, fold in folds.items():
            findings += check.exactly_once(topic, fold(made), read.rows(broker, name(topic), bytes.decode, feed.decode))
        findings += check.no_open_transaction(read.open_spans(broker, map(name, TOPICS)))
        assert findings == [], "\n".join(findings)
        assert len(made) == self.feed.made


def readied(life: Life) -> list[str]:
    """Return the tasks that a life has opened, in the order in which they were ready."""
    return [event["task"] for event in life.events() if "replayed" in event]


def generations(life: Life) -> list[str]:
    """Return the assignments of a life in each generation of the group, as text."""
    return [event["message"] for event in life.events() if event.get("message", "").startswith("generation ")]

"""Choose the brokers of a test run: the one that all tests share, and how a test starts brokers for itself alone.

In this order: the running one named by TIDEMILL_TEST_BROKERS (shared only, since tests must not kill it) · Apache Kafka
on the machine's Java · Apache Kafka in containers · the embedded broker (shared only). The choice states which tests it
excludes, so that a test run can report them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from tests.brokers import apache, compose, embedded, jars
from tests.brokers.jars import Unavailable
from tests.brokers.kafka import Kafka, Kind

RUNNING_BROKERS = "TIDEMILL_TEST_BROKERS"


@dataclass(frozen=True)
class Choice:
    shared: Kind | None
    own: Kind | None
    running: str | None = None
    missing: tuple[str, ...] = ()

    @property
    def real(self) -> bool:
        """Return whether the shared broker is Apache Kafka (assumed for a broker that was already running)."""
        return self.shared not in (None, "embedded")

    def describe(self) -> str:
        match self.shared:
            case "running":
                text = f"the running one at {self.running}"
            case "apache":
                text = f"Apache Kafka {jars.KAFKA_VERSION} on this machine's Java"
            case "compose":
                text = f"Apache Kafka {jars.KAFKA_VERSION} in Docker containers"
            case "embedded":
                text = "THE EMBEDDED BROKER; tests that need the real Apache Kafka ARE LEFT OUT"
            case None:
                text = "NONE; all tests that need a broker ARE LEFT OUT"
        if self.real and self.own is None:
            text += "; tests that need brokers of their own ARE LEFT OUT"
        return text + (f" ({'; '.join(self.missing)})" if self.missing and self.own is None else "")

    def left_out(self, marks: set[str]) -> str | None:
        """Return why a test with these marks cannot run, or None."""
        why = "; ".join(self.missing)
        if marks & {"broker", "kafka", "cluster"} and self.shared is None:
            return f"no broker can be had here: {why}"
        if marks & {"kafka", "cluster"} and not self.real:
            return f"the real Apache Kafka cannot be had here: {why}"
        if "cluster" in marks and self.own is None:
            return f"brokers of its own cannot be had here: {why}"
        return None

    def start_shared(self) -> Kafka:
        match self.shared:
            case "running":
                assert self.running is not None
                return Kafka("running", self.running)
            case "apache" | "compose":
                return self.start_own()
            case "embedded":
                return embedded.start_one()
            case None:
                raise Unavailable("; ".join(self.missing))

    def start_own(self, *, settings: Mapping[str, str] | None = None, ways: int = 0) -> Kafka:
        match self.own:
            case "apache":
                return apache.start_one(settings=settings, ways=ways)
            case "compose":
                return compose.start_one(settings=settings, ways=ways)
            case _:
                raise Unavailable("; ".join(self.missing))

    def start_cluster(self, *, settings: Mapping[str, str] | None = None, ways: int = 0) -> Kafka:
        match self.own:
            case "apache":
                return apache.start_three(settings=settings, ways=ways)
            case "compose":
                return compose.start_three(settings=settings, ways=ways)
            case _:
                raise Unavailable("; ".join(self.missing))


def choose(environ: Mapping[str, str] = os.environ, *, download: bool = False) -> Choice:
    """Return the choice for this machine.

    With `download`, Kafka's jars are downloaded now, so that a failed download counts as Kafka not being available.
    """
    running = environ.get(RUNNING_BROKERS, "").strip() or None
    own: Kind | None = None
    missing: list[str] = []
    for kind in ("apache", "compose"):
        try:
            if kind == "compose":
                compose.check()
            else:
                jars.check()
                if download:
                    jars.classpath()
        except Unavailable as reason:
            missing.append(str(reason))
        else:
            own = kind
            break
    if running is not None:
        return Choice("running", own, running, tuple(missing))
    if own is not None:
        return Choice(own, own, None, tuple(missing))
    try:
        embedded.check()
    except Unavailable as reason:
        return Choice(None, None, None, (*missing, str(reason)))
    return Choice("embedded", None, None, tuple(missing))

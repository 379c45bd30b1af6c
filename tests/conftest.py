"""The brokers and the names that tests get, and what a test run says about them.

Which broker there is, and what cannot run on it, is decided in brokers/choice.py. A test's marks follow from the
fixtures it asks for: `kafka` (any broker, shared) makes it a `broker` test; `own_kafka` and `cluster` need the real
Apache Kafka in processes of their own.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.brokers import client
from tests.brokers.choice import Choice, choose
from tests.brokers.jars import Unavailable
from tests.brokers.kafka import Kafka
from tests.brokers.process import tail

_MARKS_OF_FIXTURES = {
    "kafka": ("broker",),
    "topic": ("broker",),
    "own_kafka": ("broker", "kafka"),
    "start_kafka": ("broker", "kafka"),
    "cluster": ("broker", "kafka", "cluster"),
    "ways": ("broker", "kafka", "cluster"),
}
_OWN = {"own_kafka", "start_kafka", "cluster", "ways"}
_WAYS = 5
_LEFT_OUT = "left out: "


hypothesis.settings.register_profile("untimed", deadline=None)  # machines are shared: no test measures speed
hypothesis.settings.load_profile("untimed")


@cache
def _choice() -> Choice:
    return choose(download=True)


def pytest_report_header() -> str:
    return f"broker: {choose().describe()}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    grouped = config.pluginmanager.hasplugin("xdist")
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        for fixture, marks in _MARKS_OF_FIXTURES.items():
            if fixture in fixtures:
                for mark in marks:
                    item.add_marker(mark)
        if item.get_closest_marker("kafka") or item.get_closest_marker("cluster"):
            item.add_marker("broker")
        if grouped and "cluster" in fixtures:
            item.add_marker(pytest.mark.xdist_group("cluster"))  # three brokers in one worker, not in each


def pytest_collection_finish(session: pytest.Session) -> None:
    """After deselection, so that a run without broker tests neither downloads nor asks for anything."""
    for item in session.items:
        marks = {mark.name for mark in item.iter_markers()} & {"broker", "kafka", "cluster"}
        if not marks:
            continue
        why = _choice().left_out(marks)
        if why is None and _choice().own is None and _OWN & set(getattr(item, "fixturenames", ())):
            why = f"brokers of its own cannot be had here: {'; '.join(_choice().missing)}"
        if why is not None:
            item.add_marker(pytest.mark.skip(reason=_LEFT_OUT + why))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reasons: dict[str, list[str]] = {}
    for report in terminalreporter.stats.get("skipped", []):
        text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if _LEFT_OUT in text:
            reasons.setdefault(text.partition(_LEFT_OUT)[2], []).append(report.nodeid)
    for why, names in reasons.items():
        count = "1 TEST WAS" if len(names) == 1 else f"{len(names)} TESTS WERE"
        terminalreporter.section(f"{count} LEFT OUT: {why}", yellow=True, bold=True)
        for name in names:
            terminalreporter.line(name)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A failure shows what the brokers of its test complained of."""
    outcome: Any = yield
    report = outcome.get_result()
    if report.failed:
        used = [value for value in getattr(item, "funcargs", {}).values() if isinstance(value, Kafka)]
        for node in [node for kafka in used for node in kafka.nodes]:
            complaints = [
                line[:300] for line in tail(node.log, 2000).splitlines() if re.search(r"\b(WARN|ERROR)\b", line)
            ]
            report.sections.append(
                (f"complaints of the broker at {node.bootstrap}", "\n".join(complaints[-10:]) or "none")
            )


def _opening(start: Callable[[], Kafka]) -> Iterator[Kafka]:
    try:
        kafka = start()
    except Unavailable as reason:
        pytest.skip(_LEFT_OUT + str(reason))
    yield kafka
    kafka.close()


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """One broker that all tests share; nobody stops it."""
    yield from _opening(_choice().start_shared)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Kafka]:
    """Three brokers that tests share. A test that stops one of them starts it again (`cluster.restart()`)."""
    yield from _opening(_choice().start_cluster)


@pytest.fixture
def ways() -> Iterator[Kafka]:
    """Three brokers of the test's own with five ways to them through proxies: `ways.ways[0].address`."""
    yield from _opening(lambda: _choice().start_cluster(ways=_WAYS))


@pytest.fixture
def own_kafka() -> Iterator[Kafka]:
    """One broker behind a proxy (`own_kafka.proxied_bootstrap`) that the test may stop, kill, pause, restart."""
    yield from _opening(lambda: _choice().start_own(ways=1))


@pytest.fixture
def start_kafka() -> Iterator[Callable[..., Kafka]]:
    """Starts brokers of the test's own: `start_kafka(settings={"message.max.bytes": "1000"}, ways=0)`."""
    started: list[Kafka] = []

    def start(*, settings: Mapping[str, str] | None = None, ways: int = 0) -> Kafka:
        kafka = _choice().start_own(settings=settings, ways=ways)
        started.append(kafka)
        return kafka

    yield start
    for kafka in started:
        kafka.close()


def _unique(name: str) -> str:
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', name).strip('-').lower()[:60]}-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def topic(request: pytest.FixtureRequest, kafka: Kafka) -> Iterator[Callable[..., str]]:
    """Makes topics on the shared broker: `topic("clicks", partitions=4)` returns a name of its own."""
    made: list[str] = []

    def make(name: str = "topic", partitions: int = 1, **config: str) -> str:
        full = _unique(f"{name}-{request.node.name}")
        settings = {key.replace("_", "."): value for key, value in config.items()}
        client.create_topic(kafka.bootstrap, full, partitions, config=settings)
        made.append(full)
        return full

    yield make
    if kafka.kind == "running":
        for name in made:
            client.delete_topic(kafka.bootstrap, name)


@pytest.fixture
def app_id(request: pytest.FixtureRequest) -> str:
    """An application id that no other test has."""
    return _unique(f"app-{request.node.name}")


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """A directory for state, not made yet."""
    return tmp_path / "state"

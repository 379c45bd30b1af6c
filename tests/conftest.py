"""Shared fixtures: brokers, topics, names and directories; and the report of skipped tests.

Which broker is used, and what cannot run on it, is decided in brokers/choice.py. The marks of a test follow from the
fixtures it uses: `kafka` (any broker, shared) makes it a `broker` test; `own_kafka` and `cluster` need the real
Apache Kafka in processes of their own.
"""

from __future__ import annotations

import gc
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
from tests.brokers.opensearch import SearchServer
from tests.brokers.opensearch import running as running_opensearch
from tests.brokers.opensearch import why_not as no_opensearch
from tests.brokers.postgres import Postgres, missing, running
from tests.brokers.process import tail
from tests.brokers.redis import Redis
from tests.brokers.redis import running as running_redis
from tests.brokers.registry import Registry, why_not
from tests.object_stores.places import Places, servers
from tests.support.examples import ALL, FAST, MORE
from tests.support.patience import PATIENCE

_MARKS_OF_FIXTURES = {
    "kafka": ("broker",),
    "topic": ("broker",),
    "own_kafka": ("broker", "kafka"),
    "start_kafka": ("broker", "kafka"),
    "cluster": ("broker", "kafka", "cluster"),
    "ways": ("broker", "kafka", "cluster"),
    "registry": ("broker",),
    "own_registry": ("broker",),
    "postgres": ("slow",),
    "search": ("slow",),
    "own_search": ("slow",),
}
_OWN = {"own_kafka", "start_kafka", "cluster", "ways"}
_WAYS = 5
_LEFT_OUT = "left out: "


gc.disable()  # until all tests are collected: a third of that time
# The same examples every time, so that a change is judged by what it does; `make properties` tries new ones. No
# time limit: machines are shared.
hypothesis.settings.register_profile("full", max_examples=ALL, deadline=None, derandomize=True)
hypothesis.settings.register_profile("fast", max_examples=FAST, deadline=None, derandomize=True)
hypothesis.settings.register_profile("more", max_examples=MORE, deadline=None, print_blob=True)
hypothesis.settings.load_profile("full")  # `--hypothesis-profile=fast` comes later and wins


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
        limit = item.get_closest_marker("timeout")
        if limit is not None:
            item.add_marker(pytest.mark.timeout(PATIENCE * limit.args[0]), append=False)
        if grouped and "cluster" in fixtures:
            item.add_marker(pytest.mark.xdist_group("cluster"))  # three brokers in one worker, not in each


def pytest_collection_finish(session: pytest.Session) -> None:
    """Skip what cannot run here. After deselection: a run without broker tests downloads and probes nothing."""
    gc.collect()
    gc.freeze()  # thousands of tests and their modules need not be looked at in each collection
    gc.enable()
    if session.config.getoption("loadgroup", False):  # set in the workers of pytest-xdist
        apart = [it.nodeid for it in session.items if it.get_closest_marker("xdist_group") and "@" not in it.nodeid]
        assert not apart, f"pytest-xdist does not keep together what belongs to a group: {apart[0]}"
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
    """Add the last warnings and errors of the test's brokers to the report of a failed test."""
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


@pytest.fixture(autouse=True)
def _left_open(request: pytest.FixtureRequest) -> Iterator[None]:
    """Collect garbage after a test that uses a broker: what it has left open is reported there, not in a later one."""
    yield
    if request.node.get_closest_marker("broker"):
        gc.collect()


def _opening(start: Callable[[], Kafka]) -> Iterator[Kafka]:
    try:
        kafka = start()
    except Unavailable as reason:
        pytest.skip(_LEFT_OUT + str(reason))
    yield kafka
    kafka.close()


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """One broker that all tests share; tests must not stop it."""
    yield from _opening(_choice().start_shared)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Kafka]:
    """Three brokers that tests share. A test that stops one must start it again (`cluster.restart()`)."""
    yield from _opening(_choice().start_cluster)


@pytest.fixture
def ways() -> Iterator[Kafka]:
    """Three brokers for this test alone, with five routes to them through proxies: `ways.ways[0].address`."""
    yield from _opening(lambda: _choice().start_cluster(ways=_WAYS))


@pytest.fixture
def own_kafka() -> Iterator[Kafka]:
    """One broker for this test alone, behind a proxy (`own_kafka.proxied_bootstrap`); the test may stop or kill it."""
    yield from _opening(lambda: _choice().start_own(ways=1))


@pytest.fixture
def start_kafka() -> Iterator[Callable[..., Kafka]]:
    """Start brokers for this test alone: `start_kafka(settings={"message.max.bytes": "1000"}, ways=0)`."""
    started: list[Kafka] = []

    def start(*, settings: Mapping[str, str] | None = None, ways: int = 0) -> Kafka:
        kafka = _choice().start_own(settings=settings, ways=ways)
        started.append(kafka)
        return kafka

    yield start
    for kafka in started:
        kafka.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server that all tests share; tests must not stop it."""
    yield from _postgres()


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A PostgreSQL server for this test alone, which it may stop and start."""
    yield from _postgres()


def _postgres() -> Iterator[Postgres]:
    if (why := missing()) is not None:
        pytest.skip(_LEFT_OUT + why)
    with running() as server:
        yield server


@pytest.fixture(scope="session")
def redis() -> Iterator[Redis]:
    """A Redis server that all tests share; tests must not stop it."""
    with running_redis() as server:
        yield server


@pytest.fixture
def own_redis() -> Iterator[Redis]:
    """A Redis server for this test alone, which it may stop and start."""
    with running_redis() as server:
        yield server


@pytest.fixture(scope="session")
def search() -> Iterator[SearchServer]:
    """An OpenSearch server that all tests share; tests must not stop it."""
    yield from _search()


@pytest.fixture
def own_search() -> Iterator[SearchServer]:
    """An OpenSearch server for this test alone, which it may stop and start."""
    yield from _search()


def _search() -> Iterator[SearchServer]:
    if why := no_opensearch():
        pytest.skip(_LEFT_OUT + why)
    with running_opensearch() as server:
        yield server


@pytest.fixture(scope="session")
def places() -> Iterator[Places]:
    """Object store servers that all tests share, each started at its first use."""
    with servers() as made:
        yield made


def _registry() -> Iterator[Registry]:
    if why_not():
        pytest.skip(_LEFT_OUT + why_not())
    registry = Registry()
    registry.start()
    yield registry
    registry.close()


@pytest.fixture(scope="session")
def registry() -> Iterator[Registry]:
    """A schema registry that all tests share; a test uses subjects with a prefix of its own."""
    yield from _registry()


@pytest.fixture
def own_registry() -> Iterator[Registry]:
    """A schema registry for this test alone, which it may kill, pause and restart."""
    yield from _registry()


def _unique(name: str) -> str:
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', name).strip('-').lower()[:60]}-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def topic(request: pytest.FixtureRequest, kafka: Kafka) -> Iterator[Callable[..., str]]:
    """Create topics on the shared broker: `topic("clicks", partitions=4)` returns a unique name."""
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
    """An application id that is unique to this test."""
    return _unique(f"app-{request.node.name}")


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """The path of a state directory that does not exist yet."""
    return tmp_path / "state"

"""Tests of metrics: the catalogue matches the exported metrics, and their values match the counters."""

from __future__ import annotations

import socket
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import get_args

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

import tidemill as tm
from tests.support.patience import PATIENCE
from tidemill.engine.errors import ConfigError
from tidemill.engine.serve import web as web_module
from tidemill.engine.serve.health import live, ready
from tidemill.engine.serve.metrics import CATALOGUE, MetricName, StatsCollector, registry_of
from tidemill.engine.serve.stats import Histogram, Stats
from tidemill.engine.serve.web import HttpResponse, WebServer, listen, pages
from tidemill.engine.serve.workers import ScrapeTarget, WorkersCollector, worker_pages
from tidemill.operators.errors import RecordError

BY_SUPERVISOR = {"tidemill_worker_up", "tidemill_worker_restarts_total", "tidemill_wanted_workers"}


@dataclass
class FakeStore:
    bytes: int

    def size(self) -> int:
        return self.bytes


@dataclass
class FakeTask:
    id: str
    records_in: int
    position: int
    stream_time: int = -1
    dirty_bytes: int = 0
    waiting: int = 0
    stores: dict[str, FakeStore] = field(default_factory=dict[str, FakeStore])
    dropped: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])

    def positions(self) -> dict[tuple[str, int], int]:
        return {("views", int(self.id[-1])): self.position}

    def buffered(self) -> dict[tuple[str, int], int]:
        return {("views", int(self.id[-1])): self.waiting}

    def drops(self) -> dict[tuple[str, str], int]:
        return self.dropped

    def skips(self) -> list[RecordError]:
        return []

    def lateness(self) -> dict[str, int]:
        return {}

    def doubts(self) -> dict[str, str]:
        return {}

    def misses(self) -> dict[str, int]:
        return {}


def text_of(stats: Stats, now: int = 10_000) -> str:
    collector = StatsCollector(stats, ("views", "1.2", "exactly_once"), lambda: now)
    return generate_latest(registry_of(collector)).decode()


def figures(text: str) -> dict[tuple[str, ...], float]:
    """Values by name and label values."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for metric in text_string_to_metric_families(text)
        for sample in metric.samples
    }


def busy() -> Stats:
    stats = Stats()
    tasks = [
        FakeTask(
            "0_0", 5, 95, 9_000, 7, 10, {"rocksdb": FakeStore(100), "memory": FakeStore(1)}, {("t", "null key"): 2}
        ),
        FakeTask("0_1", 6, 100, 8_000, 8, 10, {}, {("t", "null key"): 3}),
    ]
    stats.turn(tasks, lambda key: 100 if key[1] == 0 else -1, now=1_000)
    stats.produced(4)
    stats.committed(30, [])
    return stats


def test_the_catalogue_is_complete() -> None:
    assert list(CATALOGUE) == list(get_args(MetricName))
    for name, described in CATALOGUE.items():
        assert name.startswith("tidemill_")
        assert name.endswith("_total") == (described.type == "counter"), name
        assert described.meaning.endswith(".")


def test_what_is_exported_is_the_catalogue() -> None:
    exported = {
        f"{metric.name}_total" if metric.type == "counter" else metric.name
        for metric in text_string_to_metric_families(text_of(busy()))
        if metric.name.startswith("tidemill_")
    }
    assert exported == set(CATALOGUE) - BY_SUPERVISOR
    for metric in text_string_to_metric_families(text_of(busy())):
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        described = {str(known): it for known, it in CATALOGUE.items()}.get(name)
        if described is not None:
            assert metric.type == described.type
            for sample in metric.samples:
                assert set(sample.labels) - {"le"} == set(described.labels)


def test_figures() -> None:
    found = figures(text_of(busy()))
    assert found["tidemill_info", "views", "exactly_once", "1.2"] == 1
    assert found["tidemill_records_in_total", "0_0"] == 5
    assert found["tidemill_records_out_total",] == 4
    assert found["tidemill_records_dropped_total", "null key", "t"] == 5
    assert found["tidemill_lag_records", "0", "views"] == 5
    assert ("tidemill_lag_records", "1", "views") not in found, "an unknown end is no lag"
    assert found["tidemill_event_time_lag_seconds", "0_0"] == 1
    assert found["tidemill_tasks", "running"] == 2
    assert found["tidemill_state_bytes", "0_0"] == 101
    assert found["tidemill_dirty_bytes",] == 15
    assert found["tidemill_buffer_bytes",] == 20
    assert found["tidemill_turn_age_seconds",] == 9
    assert found["tidemill_commit_seconds_bucket", "0.02"] == 0
    assert found["tidemill_commit_seconds_bucket", "0.05"] == 1
    assert found["tidemill_commit_seconds_bucket", "+Inf"] == 1
    assert found["tidemill_commit_seconds_count",] == 1
    assert found["tidemill_commit_seconds_sum",] == pytest.approx(0.03)
    assert found["process_resident_memory_bytes",] > 0


def test_counters_never_go_down_when_tasks_leave_and_come_back() -> None:
    stats = Stats()
    task = FakeTask("0_0", 10, 0, dropped={("t", "late"): 1})
    stats.turn([task], lambda key: 0, now=1_000)
    stats.closed(task)
    stats.turn([], lambda key: 0, now=1_001)
    assert (stats.records_in, stats.dropped, stats.running) == ({"0_0": 10}, {("t", "late"): 1}, 0)
    again = FakeTask("0_0", 3, 0, dropped={("t", "late"): 1})
    stats.turn([again], lambda key: 0, now=2_000)
    assert (stats.records_in, stats.dropped, stats.running) == ({"0_0": 13}, {("t", "late"): 2}, 1)


def test_transaction_markers_at_the_end_are_not_lag() -> None:
    """An end offset counts the marker of the last transaction; a task's position does not."""
    stats = Stats()
    task = FakeTask("0_0", 1, position=9)
    now = 0

    def lag() -> int:
        nonlocal now
        now += 1_000
        stats.turn([task], lambda key: 10, now)
        return stats.lag["views", 0]

    assert lag() == 1
    stats.ended({("views", 0): 10})
    assert lag() == 0
    task.waiting = 5
    assert lag() == 1, "what waits to be processed counts"
    task.waiting = 0
    stats.aborted()
    assert lag() == 1, "it is read again"


def test_tasks_are_inspected_only_a_few_times_per_second() -> None:
    stats = Stats()
    asked: list[int] = []

    def end(key: tuple[str, int]) -> int:
        asked.append(1)
        return 0

    for now in range(1_000, 2_000):
        stats.turn([FakeTask("0_0", 1, 0)], end, now)
    assert len(asked) == 4
    assert stats.turned == 1_999


def test_buckets_have_their_upper_bound_in_them() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 2.5):
        histogram.observe(value)
    assert histogram.counts == [2, 2, 1]
    assert (histogram.count, histogram.total) == (5, 7.5)


def test_health() -> None:
    stats = Stats()
    assert live(stats, 5_000, now=1_000_000).ok, "a process that has not begun is alive"
    assert not ready(stats).ok
    stats.turn([], lambda key: 0, now=10_000)
    stats.assigned(6)
    assert live(stats, 5_000, now=15_000).ok
    assert ready(stats).ok
    hung = live(stats, 5_000, now=15_001)
    assert not hung.ok
    assert "has not finished a turn for 5s" in hung.reason
    stats.restoring, stats.restore_remaining = 2, 12_345
    assert ready(stats).reason == "2 tasks are being restored, 12,345 records to go"
    stats.restoring = 0
    stats.lost()
    assert not ready(stats).ok


def get(url: str, method: str = "GET") -> tuple[int, str, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=5) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


def served(stats: Stats) -> WebServer:
    registry = registry_of(StatsCollector(stats, ("views", "1.2", "exactly_once"), lambda: 10_000))
    return WebServer(listen("127.0.0.1", 0), pages(registry, lambda: live(stats, 5_000, 10_000), lambda: ready(stats)))


@pytest.fixture
def web() -> Iterator[WebServer]:
    web = served(busy())
    yield web
    web.close()


def test_pages(web: WebServer) -> None:
    status, content_type, body = get(f"{web.url}/metrics?name[]=x")
    assert status == 200
    assert content_type.startswith("text/plain; version=")
    assert 'tidemill_records_in_total{task="0_0"} 5.0' in body
    assert get(f"{web.url}/health/live")[0] == 503
    assert get(f"{web.url}/health/ready")[::2] == (503, "not a member of the group yet\n")
    assert get(f"{web.url}/")[::2] == (404, "pages: /metrics /health/live /health/ready\n")
    assert get(f"{web.url}/metrics", "HEAD")[0] == 200
    assert get(f"{web.url}/metrics", "POST")[0] == 501


def test_a_page_that_fails_says_so(caplog: pytest.LogCaptureFixture) -> None:
    def page(accept: str) -> HttpResponse:
        raise KeyError("lost")

    web = WebServer(listen("127.0.0.1", 0), {"/metrics": page})
    try:
        assert get(f"{web.url}/metrics")[::2] == (500, "this page failed; see the log\n")
    finally:
        web.close()
    assert "the page /metrics failed" in caplog.text
    assert "KeyError: 'lost'" in caplog.text


@pytest.mark.slow
def test_connections_are_bounded_in_number_and_time(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are what the process needs for its state; some clients send a byte now and then, and never an end."""
    monkeypatch.setattr(web_module, "REQUEST_SECONDS", 1.0)
    monkeypatch.setattr(web_module, "MOST_CONNECTIONS", 3)
    held = [socket.create_connection((web.host, web.port), timeout=20) for _ in range(3)]
    for connection in held:
        connection.sendall(b"GET /metrics HTTP/1.1\r\n")
    time.sleep(0.2)
    with socket.create_connection((web.host, web.port), timeout=20) as refused:
        assert refused.recv(1) == b"", "closed at once"
    began = time.monotonic()
    ended: set[socket.socket] = set()
    while len(ended) < 3:
        assert time.monotonic() - began < 20 * PATIENCE
        for connection in held:
            with suppress(BlockingIOError, TimeoutError):
                connection.settimeout(0.05)
                try:
                    connection.sendall(b"x: y\r\n")
                    if connection.recv(1) == b"":
                        ended.add(connection)
                except ConnectionError:
                    ended.add(connection)
    for connection in held:
        connection.close()
    while True:  # the connections may need a moment to close
        assert time.monotonic() - began < 40 * PATIENCE
        try:
            with urllib.request.urlopen(f"{web.url}/metrics", timeout=20) as answer:
                assert answer.headers["Connection"] == "close"
                break
        except urllib.error.HTTPError as error:
            error.close()
        except OSError:
            continue


def test_an_address_that_cannot_be_had(web: WebServer) -> None:
    with pytest.raises(ConfigError, match=rf"serve metrics at 127\.0\.0\.1:{web.port}: another process listens there"):
        listen("127.0.0.1", web.port)
    with pytest.raises(ConfigError, match="choose an address of this machine"):
        listen("192.0.2.1", 0)


def test_several_workers_are_one(web: WebServer) -> None:
    stats = busy()
    stats.assigned(6)
    stats.turned = 9_000
    other = served(stats)
    workers = [
        ScrapeTarget(0, web.url, 0),
        ScrapeTarget(1, other.url, 2),
        ScrapeTarget(2, None, 5),
        ScrapeTarget(3, "http://127.0.0.1:1", 0),
    ]
    both = WebServer(listen("127.0.0.1", 0), worker_pages(lambda: workers, WorkersCollector(lambda: workers)))
    try:
        found = figures(get(f"{both.url}/metrics")[2])
        assert [found["tidemill_worker_up", str(number)] for number in range(4)] == [1, 1, 0, 0]
        assert found["tidemill_worker_restarts_total", "2"] == 5
        assert found["tidemill_records_in_total", "0_0", "0"] == 5
        assert found["tidemill_records_in_total", "0_0", "1"] == 5
        assert found["tidemill_commit_seconds_bucket", "+Inf", "1"] == 1
        status, _, reason = get(f"{both.url}/health/live")
        assert status == 503
        assert reason.startswith("worker 0: the processing thread has not finished a turn for 9s")
        assert "worker 2: it is not running; worker 3: it does not answer" in get(f"{both.url}/health/ready")[2]
        workers[:] = workers[1:2]
        assert get(f"{both.url}/health/live")[0] == 200
        assert get(f"{both.url}/health/ready")[::2] == (200, "all workers are ready\n")
    finally:
        both.close()
        other.close()


def test_look_ups_that_find_nothing_are_counted_by_their_step() -> None:
    app = tm.App("shop")
    users = app.table("users", key=tm.utf8, value=tm.utf8)
    prices = app.global_table("prices", key=tm.utf8, value=tm.utf8)
    orders = app.stream("orders", key=tm.utf8, value=tm.utf8)
    orders.join(users, lambda o, u: o + u).named("inner").to("out", value=tm.utf8)
    orders.join(users, lambda o, u: o, how="left").named("left").to("out", value=tm.utf8)
    orders.join(prices, lambda o, p: o + p).named("global").to("out", value=tm.utf8)
    rows = app.table("rows", key=tm.utf8, value=tm.utf8)
    rows.join(users, on=lambda row: row, function=lambda row, u: row + u).named("foreign").to("out", value=tm.utf8)
    with tm.testing.TopologyDriver(app) as driver:
        driver.send("users", "u", "x", 0)
        driver.send("prices", "u", "x", 0)
        for time, key in enumerate("uabu"):
            driver.send("orders", key, "o", time)
        driver.send("rows", "1", "u", 9)
        driver.send("rows", "2", "nobody", 9)
        misses: Counter[str] = Counter()
        for task in driver._tasks.values():
            misses.update(task.misses())
        assert misses == {"inner": 2, "left": 2, "global": 2, "foreign-subscribers": 1}
        stats = Stats()
        stats.turn(driver._tasks.values(), lambda _key: -1, 10_000)
        assert figures(text_of(stats))["tidemill_lookup_misses_total", "inner"] == 2

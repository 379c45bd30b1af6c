"""`map_async(journal=True)` under SIGKILL, beside an HTTP server that counts the calls it gets."""

from __future__ import annotations

import os
import random
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

import orjson
import pytest

from tests.brokers import client

from .program import Life
from .stage import Stage

KILLS = int(os.environ.get("TIDEMILL_TEST_KILLS", "3"))
pytestmark = [pytest.mark.slow, pytest.mark.kafka, pytest.mark.timeout(300 + 20 * KILLS)]
ORDERS_PER_KILL = 150


class Counting(ThreadingHTTPServer):
    """Gives each call a receipt of its own, and notes the calls of orders whose result has been committed."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.receipts = count(1)
        self.lock = threading.Lock()
        self.calls: defaultdict[int, list[tuple[str, int]]] = defaultdict(list)
        """The keys and receipts of each order."""
        self.made = 0
        self.committed: set[int] = set()
        self.repeated: list[int] = []
        self.down = False

    def charge(self, order: int, key: str) -> int:
        with self.lock:
            receipt = next(self.receipts)
            self.made = receipt
            self.calls[order].append((key, receipt))
            if order in self.committed:
                self.repeated.append(order)
        time.sleep(0.02)
        return receipt


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Counting)
        order = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.down:
            self.send_error(503)
            return
        body = orjson.dumps(self.server.charge(order, self.headers["Idempotency-Key"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Counting]:
    with Counting() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_no_call_is_made_again_once_its_result_is_committed(
    stage: Stage, server: Counting, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.topics("orders", "receipts", partitions=2)
    variables = {"CHARGES": f"http://127.0.0.1:{server.server_port}"}
    program = stage.program("charges.py", variables=variables, commit_interval="50ms", session_timeout="6s")
    chance = random.Random(1)
    orders = 0
    for _ in range(KILLS):
        life = program.start()
        life.wait_for("is ready", 60)
        stage.send("orders", [(b"%d" % order, b"%d" % order) for order in range(orders, orders + ORDERS_PER_KILL)])
        orders += ORDERS_PER_KILL
        wanted = server.made + chance.randint(20, ORDERS_PER_KILL - 30)
        while server.made < wanted:  # others are under way then
            time.sleep(0.001)
        life.kill()
        server.committed |= committed(stage)
    program.start()
    rows = stage.wait_for_rows("receipts", orders, 120)
    results = [orjson.loads(row.value or b"") for row in rows]
    assert sorted(result["order"] for result in results) == list(range(orders)), "each order has one result"
    for result in results:
        calls = server.calls[result["order"]]
        assert result["receipt"] in [receipt for _, receipt in calls]
        assert len({key for key, _ in calls}) == 1, "each call for a record has the same key"
    assert len({calls[0][0] for calls in server.calls.values()}) == orders, "a key is of one record"
    assert server.repeated == []
    made = sum(map(len, server.calls.values()))
    assert made > orders, "no kill was in the middle of a call"
    with capsys.disabled():
        print(f"\n{KILLS} kills: {made} calls for {orders} orders, {len(server.repeated)} after their result")


def test_records_wait_while_the_service_fails(stage: Stage, server: Counting) -> None:
    stage.topics("orders", "receipts", partitions=2)
    variables = {"CHARGES": f"http://127.0.0.1:{server.server_port}"}
    program = stage.program("charges.py", variables=variables, commit_interval="50ms", session_timeout="6s", web=0)
    life = program.start()
    life.wait_for("is ready", 60)
    stage.send("orders", [(b"%d" % order, b"%d" % order) for order in range(50)])
    stage.wait_for_rows("receipts", 50, 60)
    server.down = True
    stage.send("orders", [(b"%d" % order, b"%d" % order) for order in range(50, 1_000)])
    life.wait_for("step 'charged': the circuit is open after 5 failed calls in a row", 60)
    time.sleep(7)  # longer than the session timeout
    assert figure(life, 'tidemill_circuit_open_seconds{step="charged"}') > 6
    assert figure(life, 'tidemill_call_failures_total{step="charged"}') >= 5
    server.down = False
    life.wait_for("step 'charged': the circuit is closed again", 60)
    rows = stage.wait_for_rows("receipts", 1_000, 60)
    assert sorted(orjson.loads(row.value or b"")["order"] for row in rows) == list(range(1_000))
    assert {len(calls) for calls in server.calls.values()} == {1}
    assert "membership lost" not in life.log
    assert life.stop() == 0


def figure(life: Life, name: str) -> float:
    """Return a metric of a process."""
    url = life.wait_for(r"metrics and health at (http://[0-9.:]+)", 60)[1]
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:
        lines = dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if line[0] != "#")
    return float(lines[name])


def committed(stage: Stage) -> set[int]:
    """Return the orders whose results readers have seen."""
    return {orjson.loads(row.value or b"")["order"] for row in client.read(stage.broker, stage.name("receipts"))}

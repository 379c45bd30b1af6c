"""Several workers of a Faust application: what they share, and what each has alone."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any
from urllib.request import urlopen

import orjson
import pytest

from tests.brokers import client

from .program import PROGRAMS, Life
from .stage import Stage
from .test_faust import faust, values

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def worker(stage: Stage, port: int) -> Life:
    """A worker with web pages at a port, with a directory of its own."""
    program = faust(stage, "faust_more", session_timeout="10s", state_dir=stage.directory / f"state-{port}")
    options = f"--datadir {stage.directory / str(port)} --web-port {port} --web-host 127.0.0.1 --web-bind 127.0.0.1"
    program.variables["FAUST_OPTIONS"] = options
    program.name = f"faust_more_{port}"
    return program.start()


def row(key: str, value: int, partition: int) -> client.Row:
    return client.Row(key.encode(), orjson.dumps(value), partition=partition)


def eventually(stage: Stage, wanted: str, *, partition: int) -> None:
    """Send orders into a partition until an agent has seen what is wanted."""

    def seen() -> bool:
        stage.send("orders-a", [row("n", 1, partition)])
        return any(one.endswith(wanted) for one in values(stage, "found").get("orders-a", [])[-4:])

    client.wait_for(seen, 60, f"an agent that sees {wanted!r}")


def page(port: int, key: str) -> dict[str, Any]:
    try:
        with urlopen(f"http://127.0.0.1:{port}/count/{key}/", timeout=10) as answer:
            return orjson.loads(answer.read())
    except OSError as failure:  # so are all errors of urllib
        return {"failure": repr(failure)}


def until_pages(port: int) -> None:
    """Wait until a worker answers for a key of each partition."""
    answers: list[dict[str, Any]] = []

    def known() -> bool:
        answers[:] = [page(port, key) for key in ("x1", "y1")]
        return [answer.get("count") for answer in answers] == [1, 1]

    try:
        client.wait_for(known, 60, "the counts")
    except TimeoutError as failure:
        raise AssertionError(f"the pages of port {port} answer {answers}") from failure


def until(condition: Callable[[], object], what: str) -> None:
    client.wait_for(condition, 60, what)


def test_workers_share_global_tables_and_pages_and_have_partitions_alone(stage: Stage) -> None:
    stage.topics("limits", "orders-a", "orders-b", "cells", "found", partitions=2)
    ports = [free_port(), free_port()]
    lives = [worker(stage, port) for port in ports]
    until(lambda: all("is ready" in life.log for life in lives), "a task for each worker")

    # A row that one worker has written is seen by the other, and the youngest row of a key counts.
    stage.send("limits", [row("limit", 5, 0), row("other", 1, 1)])
    eventually(stage, "5 2 ['limit', 'other']", partition=0)
    eventually(stage, "5 2 ['limit', 'other']", partition=1)
    stage.send("limits", [row("limit", 6, 1)])
    eventually(stage, "6 2 ['limit', 'other']", partition=0)
    stage.send("limits", [row("limit", -1, 0)])
    eventually(stage, "None 1 ['other']", partition=1)
    stage.send("orders-b", [row("n", 3, 0)])
    until(lambda: values(stage, "found").get("orders-b"), "the second topic of the pattern")

    # The agent for single partitions never sees two.
    stage.send("cells", [row("a", 1, 0), row("b", 2, 1), row("a", 3, 0)])
    until(lambda: len(values(stage, "found").get("alone", [])) == 3, "the cells")
    assert sorted(values(stage, "found")["alone"]) == ["1 [0]", "2 [1]", "3 [0]"]

    # Each worker answers for all keys; the application's partitioner says where they are.
    stage.send("orders-a", [row("x1", 1, 1), row("y1", 1, 0)])
    for port in ports:
        until_pages(port)
    assert page(ports[0], "x1")["pid"] == page(ports[1], "x1")["pid"] != page(ports[0], "y1")["pid"]

    # One worker is killed: the other goes on with everything.
    lives[0].kill()
    until_pages(ports[1])
    stage.send("cells", [row("a", 4, 0), row("b", 5, 1)])
    until(lambda: {"4 [0]", "5 [1]"} <= set(values(stage, "found")["alone"]), "cells of both")

    # A command of the application runs under Faust's own command line.
    called = subprocess.run(
        [sys.executable, "-m", "faust", "-A", "faust_more", "send-limit"],
        cwd=PROGRAMS,
        env=faust(stage, "faust_more").environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "sent a limit" in called.stdout, called.stderr
    eventually(stage, "77 2 ['limit', 'other']", partition=0)
    assert lives[1].stop() == 0

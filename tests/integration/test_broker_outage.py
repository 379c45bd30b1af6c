"""Broker outages during a run, short or longer than session and transaction timeouts: the program continues.

Nothing is lost or duplicated, according to the verifier of the exactly-once tests.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.brokers import client
from tests.brokers.kafka import Kafka
from tests.support.patience import PATIENCE
from tidemill.engine.errors import Retryable
from tidemill.engine.kafka.topics import Topics

from .eos.applications import INPUT, PARTITIONS, EchoMinSum, MaxCount
from .eos.trial import Trial, seeded, source
from .orders import items, order, prepared
from .program import Program
from .stage import Stage

pytestmark = [pytest.mark.without_changelogs, pytest.mark.slow, pytest.mark.kafka]

NOWHERE = "127.0.0.1:1"
OUTAGE = 70.0
"""Seconds: longer than the default timeouts of a session (45 s) and of a transaction (60 s)."""


@pytest.fixture
def second_stage(own_kafka: Kafka, app_id: str, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(own_kafka, f"second-{app_id}", tmp_path / "second", own_kafka.proxied_bootstrap)
    yield stage
    stage.close()


def uncommitted(trial: Trial) -> bool:
    """Return whether there are outputs in an open transaction."""
    return bool(client.undecided(trial.stage.broker, trial.stage.name(trial.application.outputs[0])))


@pytest.mark.timeout(60)
def test_an_unavailable_broker_is_named(tmp_path: Path) -> None:
    settings = {"broker": NOWHERE, "connect_timeout": "2s", "state_dir": tmp_path / "state"}
    life = Program("orders.py", tmp_path, settings, {"TOPICS": "unused"}).start()
    assert life.exit() == 3
    said = " ".join(life.log[life.log.index("error: ") :].split())
    assert f"cannot reach Kafka at {NOWHERE} for 2s" in said
    assert "Check the address (--broker)" in said
    assert "Traceback" not in life.log


@pytest.mark.timeout(90)
def test_a_program_waits_for_a_broker_that_starts_later(own_kafka: Kafka, own_stage: Stage) -> None:
    prepared(own_stage, [order("apple"), order("beet")])
    own_kafka.proxy.cut()
    life = own_stage.program("orders.py", commit_interval="100ms").start()
    life.wait_for("waiting for Kafka at")
    own_kafka.proxy.heal()
    own_stage.wait_for_rows("enriched", 2)
    assert life.stop() == 0
    assert items(own_stage) == ["apple", "beet"]


@pytest.mark.timeout(90)
@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
def test_an_idle_program_ends_after_the_retry_timeout_and_logs_little_before(
    own_kafka: Kafka, own_stage: Stage, guarantee: str
) -> None:
    prepared(own_stage, [order("apple")])
    life = own_stage.program(
        "orders.py", broker=own_kafka.bootstrap, commit_interval="100ms", retry_timeout="6s", guarantee=guarantee
    ).start()
    own_stage.wait_for_rows("enriched", 1)
    before = life.log.count("\n")
    own_kafka.kill()
    killed = time.monotonic()
    assert life.exit() == 3
    assert 5 < time.monotonic() - killed < 25 * PATIENCE
    assert "longer than retry_timeout" in life.log
    said = life.log.count("\n") - before
    assert said < 40, life.log


@pytest.mark.timeout(90)
def test_offsets_are_requested_again_from_a_leader_that_is_back(own_kafka: Kafka) -> None:
    """The admin client keeps using cached leaders unless it refreshes its metadata."""
    client.create_topic(own_kafka.bootstrap, "data", 2)
    topics = Topics({"bootstrap.servers": own_kafka.bootstrap, "log_level": 0})
    keys = [("data", 0), ("data", 1)]
    assert topics.ends(keys, committed=False) == dict.fromkeys(keys, 0)
    for _ in range(2):
        own_kafka.kill()
        own_kafka.restart()

        def ends() -> dict[tuple[str, int], int]:
            with suppress(Retryable):
                return topics.ends(keys, committed=False)
            return {}

        assert client.wait_for(ends, 15, "the offsets to be returned again") == dict.fromkeys(keys, 0)


@pytest.mark.timeout(240)
def test_seventy_seconds_without_a_broker(
    own_kafka: Kafka, own_stage: Stage, second_stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    seed, _ = seeded()
    for stage in (own_stage, second_stage):
        stage.topics(INPUT, partitions=PARTITIONS)
    trials = [
        Trial(own_stage, EchoMinSum(), guarantee="exactly_once"),
        Trial(own_stage, MaxCount(), guarantee="exactly_once"),
        Trial(second_stage, EchoMinSum(), guarantee="at_least_once"),
    ]
    with source(own_stage, seed, rate=500), source(second_stage, seed, rate=500):
        lives = [trial.start() for trial in trials]
        for trial, life in zip(trials, lives, strict=True):
            trial.catch_up(life)
        own_kafka.proxy.cut()
        cut = time.monotonic()
        while time.monotonic() < cut + OUTAGE:
            assert all(life.alive() for life in lives), "a program ended during the outage"
            time.sleep(0.5)
        own_kafka.proxy.heal()
        healed = time.monotonic()
        for trial, life in zip(trials, lives, strict=True):
            trial.catch_up(life, 90)
        seconds = time.monotonic() - healed
        for life in lives:
            Trial.stop(life)
    with capsys.disabled():
        print(f"\nseed {seed}: caught up with everything {seconds:.1f} s after an outage of {OUTAGE:.0f} s")
    for trial, life in zip(trials, lives, strict=True):
        findings, figures = trial.judge()
        with capsys.disabled():
            print(figures)
        assert findings == [], f"seed {seed}: " + "\n".join(findings)
        assert "trying again" in life.log or "membership lost" in life.log, "the log does not mention the outage"


@pytest.mark.timeout(180)
def test_the_broker_restarts_during_a_transaction(
    own_kafka: Kafka, own_stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    seed, _ = seeded()
    own_stage.topics(INPUT, partitions=PARTITIONS)
    trials = [
        Trial(own_stage, application, guarantee="exactly_once", commit_interval="3s")
        for application in (EchoMinSum(), MaxCount())
    ]
    with source(own_stage, seed, rate=500):
        lives = [trial.start() for trial in trials]
        for way in (own_kafka.kill, own_kafka.stop, own_kafka.kill):
            for trial, life in zip(trials, lives, strict=True):
                trial.catch_up(life)
            client.wait_for(lambda: uncommitted(trials[0]), 30, "an open transaction")
            way()
            own_kafka.restart()
        for trial, life in zip(trials, lives, strict=True):
            trial.catch_up(life)
            Trial.stop(life)
    for trial in trials:
        findings, figures = trial.judge()
        with capsys.disabled():
            print(f"\nseed {seed}: {figures} through three restarts of the broker")
        assert findings == [], f"seed {seed}: " + "\n".join(findings)

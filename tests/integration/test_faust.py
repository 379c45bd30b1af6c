"""Faust applications, as they are, on the engine: what agents and tables do, and that a kill changes nothing."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Iterable, Mapping

import orjson
import pytest

from tests.brokers import client

from .program import Program
from .stage import Stage

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

HALVES = (("first", 1), ("second", 2))
KILLS = int(os.environ.get("FAUST_KILLS", "4"))


def faust(stage: Stage, app: str, **settings: object) -> Program:
    return faust_with(stage, app, {}, **settings)


def faust_with(stage: Stage, app: str, variables: Mapping[str, str], **settings: object) -> Program:
    """A Faust application with variables of its own."""
    given = {"FAUST_APP": app, "FAUST_OPTIONS": f"--datadir {stage.directory}", **variables}
    return stage.program("faust_worker.py", variables=given, name=app, **settings)


def lines(texts: Iterable[str]) -> list[tuple[bytes, bytes]]:
    return [(str(number).encode(), orjson.dumps({"text": text})) for number, text in enumerate(texts)]


def values(stage: Stage, topic: str) -> dict[str, list[str]]:
    """The values of a topic by key, both as the program sees them."""
    found: dict[str, list[str]] = {}
    for row in stage.read(topic):
        assert row.key is not None
        assert row.value is not None
        found.setdefault(row.key.decode(), []).append(orjson.loads(row.value))
    return found


def test_words_are_counted(stage: Stage) -> None:
    stage.topics("lines", "words", "counted", partitions=2)
    program = faust(stage, "faust_words")
    life = program.start()
    stage.send("lines", lines(["a b a", "c", "a b"]))
    stage.wait_for_rows("counted", 6)
    assert life.stop() == 0
    assert values(stage, "counted") == {"a": [1, 2, 3], "b": [1, 2], "c": [1]}

    life = program.start()
    stage.send("lines", lines(["a c"]))
    stage.wait_for_rows("counted", 8)
    assert life.stop() == 0
    assert values(stage, "counted") == {"a": [1, 2, 3, 4], "b": [1, 2], "c": [1, 2]}


@pytest.mark.timeout(60 + 30 * KILLS)
def test_kills_lose_and_double_nothing(stage: Stage) -> None:
    stage.topics("lines", "words", "counted", partitions=2)
    chance = random.Random(7)
    wanted: Counter[str] = Counter()
    program = faust(stage, "faust_words")
    life = program.start()
    for kill in range(KILLS + 1):
        life = life if life.alive() else program.start()
        life.wait_for("is ready")
        texts = [" ".join(f"w{chance.randrange(50)}" for _ in range(5)) for _ in range(300)]
        for text in texts:
            wanted.update(text.split())
        stage.send("lines", lines(texts))
        if kill < KILLS:
            time.sleep(chance.uniform(0.1, 0.8))
            life.kill()
    total = sum(wanted.values())
    stage.wait_for_rows("counted", total, timeout=60)
    stage.wait_until_committed("words")
    assert life.stop() == 0
    counted = values(stage, "counted")
    assert {word: len(numbers) for word, numbers in counted.items()} == wanted
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in map(as_numbers, counted.values()))


def test_a_kill_in_the_middle_of_an_event_leaves_nothing_of_it(stage: Stage) -> None:
    stage.topics("items", "done", partitions=2)
    waits, go_on = stage.directory / "commit waits", stage.directory / "go on"
    program = faust(stage, "faust_half")
    program.variables["DIRECTORY"] = str(stage.directory)
    life = program.start()
    life.wait_for("is ready")
    stage.send("items", [(key, orjson.dumps(1)) for key in (b"slow", b"a", b"b", b"c")])
    # Without the wait for events that agents have begun, the first half of the event is committed.
    client.wait_for(lambda: waits.exists() or "slow first" in values(stage, "done"), 60, "a commit in the event")
    life.kill()
    assert "slow first" not in values(stage, "done")
    go_on.touch()
    life = program.start()
    stage.wait_for_rows("done", 8, timeout=60)
    stage.wait_until_committed("items", timeout=60)
    assert life.stop() == 0
    whole = {f"{key} {half}": [number] for key in ("slow", "a", "b", "c") for half, number in HALVES}
    assert values(stage, "done") == whole


@pytest.mark.parametrize("method", ["ask", "join"])
def test_an_agent_that_asks_another_one_in_an_event_is_refused(stage: Stage, method: str) -> None:
    stage.topics("items", "found")
    program = faust(stage, "faust_asks")
    program.variables["METHOD"] = method
    life = program.start()
    life.wait_for("is ready")
    stage.send("items", [(b"a", orjson.dumps(21))])
    assert life.exit(60) == 2
    assert "is asked within an event" in life.log
    assert stage.committed("items") in ({}, {0: 0})


def test_an_agent_that_asks_one_in_memory_gets_its_answer(stage: Stage) -> None:
    stage.topics("items", "found")
    program = faust(stage, "faust_asks")
    program.variables["METHOD"] = "memory"
    life = program.start()
    stage.send("items", [(b"a", orjson.dumps(21))])
    stage.wait_for_rows("found", 1, timeout=60)
    assert life.stop() == 0
    assert values(stage, "found") == {"answer": [63]}


def as_numbers(found: list[str]) -> list[int]:
    return [int(one) for one in found]


def test_agents_and_tables_do_what_they_do_in_faust(stage: Stage) -> None:
    stage.topics("transfers", "found", partitions=2)
    life = faust(stage, "faust_bank").start()
    sent = [
        ("ann", "DE", 10, 30.0),
        ("bob", "DE", 200, 50.0),
        ("ann", "FR", 5, 70.0),
        ("ann", "DE", -1, 80.0),
        ("cid", "FR", 300, 90.0),
        ("bob", "DE", 7, 100.0),
        ("ann", "DE", 1, 119.0),
    ]
    rows = [
        (who.encode(), orjson.dumps({"account": who, "country": where, "amount": amount, "at": at}))
        for who, where, amount, at in sent
    ]
    stage.send("transfers", rows)

    def all_of_it() -> dict[str, list[str]]:
        found = {name: sorted(told) for name, told in values(stage, "found").items()}
        enough = sum(map(int, found.get("batch", []))) == 7 and len(found.get("asked", [])) == 4
        return found if enough and len(found.get("country DE", [])) == 4 else {}

    found = client.wait_for(all_of_it, 40, "all that the agents find out")
    assert life.stop() == 0
    assert "218" in found["country DE"], "the transfers of a country come from two partitions, in any order"
    assert "305" in found["country FR"]
    assert found["accounts DE"][-1] == "ann,bob"
    assert found["minute ann 0"] == ["10"]
    assert found["minute ann 1"] == ["4", "5", "5"]
    assert found["minute bob 0"] == ["200"]
    assert found["minute bob 1"] == ["7"]
    assert found["sink"] == ["bob 200", "cid 300"]
    assert found["memory"] == sorted(str(amount) for _, _, amount, _ in sent)
    assert found["asked"] == sorted(["42", "2", "4", "6"])


def test_seldom_used_parts_do_what_they_do_in_faust(stage: Stage) -> None:
    stage.topics("items", "echoed", "forwarded", "through", "found")
    life = faust(stage, "faust_surface").start()
    stage.send("items", [(b"a", orjson.dumps(number)) for number in (1, 2, 3)])
    wanted = {
        "enumerate": ["0 1 0", "1 2 1", "2 3 2"],
        "through": ["1", "2", "3"],
        "echo": ["1", "2", "3"],
        "forward": ["a 1", "a 2", "a 3"],
        "noack": ["1", "2", "3"],
        "after a failure": ["1", "3"],
        "windows": ["1 1", "3 3", "6 6"],
        "agent": ["1", "2", "3", "4", "5", "5"],
        "map": ["[1, 4, 9]"],
        "kvmap": ["[16, 25]"],
        "started": ["first"],
    }

    def told() -> dict[str, list[str]]:
        found = {name: sorted(some) if name == "agent" else some for name, some in values(stage, "found").items()}
        batches = ",".join(found.pop("take_events", []))
        return found if found == wanted and batches == "1,2,3" else {}

    try:
        client.wait_for(told, 60, "all that the agents find out")
    except TimeoutError:
        assert values(stage, "found") == wanted
    assert life.stop() == 0


def test_channels_in_memory_keep_their_limit(stage: Stage) -> None:
    """Who sends waits for who takes, also while commits wait for both."""
    stage.topics("items", "found")
    program = faust(stage, "faust_memory", commit_interval="20ms")
    life = program.start()
    stage.send("items", [(b"a", b"30")] * 10)

    def told() -> tuple[int, list[str]]:
        found = values(stage, "found")
        return sum(map(int, found.get("parts", []))), found.get("waited", [])

    client.wait_for(lambda: told() == (300, ["True"]), 60, "all parts")
    taken = [number for text in values(stage, "found")["taken"] for number in orjson.loads(text)]
    assert taken == list(range(12))[: len(taken)]
    stage.wait_until_committed("items")
    life.kill()
    life = program.start()
    stage.send("items", [(b"a", b"5")])
    client.wait_for(lambda: told()[0] == 305, 60, "the next parts")
    assert life.stop() == 0


@pytest.mark.timeout(180)
def test_a_crontab_fires_at_the_minute(stage: Stage) -> None:
    """Not at the start; it may read tables."""
    stage.topics("items", "ticks")
    if time.time() % 60 > 40:
        time.sleep(25)
    life = faust(stage, "faust_crontab").start()
    stage.send("items", [(b"a", b"3"), (b"b", b"4")])
    stage.wait_until_committed("items")
    assert not stage.read("ticks")
    stage.wait_for_rows("ticks", 1, timeout=75)
    time.sleep(3)
    assert life.stop() == 0
    ticks = [tuple(map(int, value.split())) for value in values(stage, "ticks")["minute"]]
    # Faust sleeps by one clock until another one has the minute. They differ by some ms where a virtual machine sets
    # one, so it may wake up in the second before, and then once more.
    early, at = [count for second, count in ticks if second == 59], [count for second, count in ticks if second < 10]
    assert len(early) + len(at) == len(ticks)
    assert len(early) <= 1
    assert len(at) <= 1
    assert {count for _, count in ticks} == {7}

"""An application gets more partitions while records flow: each input is in the output exactly once."""

from __future__ import annotations

import json
import subprocess
import threading
from collections import Counter

import pytest

from tests.brokers import client

from .blue_green import KILLED, PARTITIONS, READY, Versions
from .stage import Stage

pytestmark = [pytest.mark.slow, pytest.mark.kafka]

RETIRED = 3
"""The exit code of a process whose application another one has replaced."""
MORE = 4 * PARTITIONS
LONGEST_PAUSE_MS = 5_000
WINDOW_MS = 20


@pytest.mark.timeout(300)
def test_a_running_application_gets_more_partitions(stage: Stage) -> None:
    stage.topics("closed", partitions=PARTITIONS)
    versions, old, new = Versions(stage), stage.app_id, f"{stage.app_id}-more"
    lives = [versions.instance(name, old, CLOSED="1").start() for name in ("old-1", "old-2")]
    lives[0].wait_for(READY, 60)
    client.wait_for(lambda: len(versions.rows(stage.name("totals"))) > 500, 60, "totals")
    words = ("reshard", "APP", "--partitions", str(MORE), "--online", "--successor", new)
    dry = versions.command(*words, "--dry-run", CLOSED="1")
    assert dry.returncode == 0, dry.stderr
    assert f"sub-topology 1: {PARTITIONS} tasks become {MORE}" in dry.stdout
    for failpoint in ("during-savepoint:3", "during-reshard:3", "during-refill:4"):
        ended = versions.command(*words, "--yes", failpoint=failpoint, CLOSED="1")
        assert ended.returncode == KILLED, ended.stdout + ended.stderr
    ended = versions.command(*words, "--yes", "--timeout", "1", CLOSED="1")
    assert ended.returncode == 3, ended.stdout + ended.stderr
    assert f"{new} was not started" in ended.stderr
    results: list[subprocess.CompletedProcess[str]] = []
    asked = (*words, "--json", "--timeout", "150")
    command = threading.Thread(target=lambda: results.append(versions.command(*asked, CLOSED="1")))
    command.start()
    dying = versions.instance("new-1", new, CLOSED="1").start(failpoint="during-stand")
    lives += [versions.instance("new-2", new, CLOSED="1").start()]
    assert dying.exit(90) == KILLED
    lives += [versions.instance("new-1", new, "new-1-again", CLOSED="1").start()]
    command.join()
    assert results[0].returncode == 0, results[0].stderr
    found = json.loads(results[0].stdout)
    assert found["done"]
    assert 0 < found["pause_ms"] <= LONGEST_PAUSE_MS
    assert [life.exit(60) for life in lives[:2]] == [RETIRED, RETIRED]
    widths = client.topics(stage.broker)
    assert {widths[f"{new}-totals-{kind}"] for kind in ("repartition", "changelog")} == {MORE}
    lives[2].kill()
    lives[2] = versions.instance("new-2", new, "new-2-again", CLOSED="1").start()
    made = versions.input.stop()
    assert versions.outputs(made) == versions.reference(made)
    windows = closed_windows(stage)
    client.wait_for(lambda: windows.keys() <= dict(versions.rows(stage.name("closed"))).keys(), 30, "closed windows")
    found_windows = versions.rows(stage.name("closed"))
    assert max(Counter(window for window, _ in found_windows).values()) == 1
    assert windows.items() <= dict(found_windows).items()
    assert json.loads(versions.command(*words, "--json", CLOSED="1").stdout)["earlier"]
    for life in lives[2:]:
        assert life.stop() == 0


def closed_windows(stage: Stage) -> Counter[str]:
    """Return the counts of windows that are certainly closed by the input."""
    rows = client.read(stage.broker, stage.name("data"))
    closed = min(max(row.timestamp for row in rows if row.partition == number) for number in range(PARTITIONS)) - 1_000
    starts = [(row.key or b"", row.timestamp // WINDOW_MS * WINDOW_MS) for row in rows]
    return Counter(f"g-{key.decode()}@{start}" for key, start in starts if start < closed)

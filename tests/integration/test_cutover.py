"""A shadow takes the place of its application: each input is in the output of exactly one version."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections import Counter

import pytest

from tests.brokers import client
from tidemill.engine.group.inspect import GroupInspector
from tidemill.engine.tasks.roles import role_in

from .blue_green import KILLED, READY, Versions
from .hops import Hops, expected
from .program import Life
from .stage import Stage

pytestmark = [pytest.mark.slow, pytest.mark.kafka]

RETIRED = 3
"""The exit code of a process whose application another one has replaced."""


class Pair:
    """An application and its shadow, of the same version, with records flowing."""

    def __init__(self, stage: Stage) -> None:
        self.versions = Versions(stage)
        self.stage = stage
        self.started = 0
        self.old, self.new = stage.app_id, f"{stage.app_id}-new"
        self.lives = {"old-1": self.start("old-1"), "old-2": self.start("old-2")}
        self.lives["old-1"].wait_for(READY, 60)
        client.wait_for(lambda: len(self.versions.rows(stage.name("totals"))) > 500, 60, "totals")
        self.versions.done("savepoint", "create", "APP", "base")
        self.versions.fork("base", self.new)
        self.lives |= {"new-1": self.start("new-1"), "new-2": self.start("new-2")}
        self.lives["new-1"].wait_for(READY, 60)

    def start(self, name: str, failpoint: str | None = None, **variables: str) -> Life:
        self.started += 1
        app = self.new if name.startswith("new") else self.old
        program = self.versions.instance(name, app, f"{name}-{self.started}", **variables)
        return program.start(failpoint=failpoint) if failpoint else program.start()

    def restart(self, name: str, failpoint: str | None = None) -> None:
        """Replace a process by one that dies, stops or works."""
        if self.lives[name].alive():
            assert self.lives[name].stop() == 0
        self.lives[name] = self.start(name, failpoint)
        self.lives[name].wait_for(READY, 60)

    def cutover(self, failpoint: str | None = None) -> subprocess.CompletedProcess[str]:
        words = ("cutover", self.old, self.new, "--json", "--timeout", "150")
        return self.versions.command(*words, failpoint=failpoint)

    def roles(self) -> set[str]:
        """Return the roles in the committed offsets of both."""
        options = {"bootstrap.servers": self.stage.broker}
        groups = GroupInspector(options, options)
        found = [groups.committed(group).values() for group in (self.old, self.new)]
        roles = [role_in(metadata) for committed in found for _, metadata in committed]
        return {role.kind if role.other else "active" for role in roles}

    def check(self) -> None:
        """Stop the input, and compare all outputs with those of one version."""
        made = self.versions.input.stop()
        assert self.versions.outputs(made) == self.versions.reference(made)


@pytest.mark.timeout(300)
def test_a_shadow_takes_the_place_of_the_application(stage: Stage) -> None:
    pair = Pair(stage)
    refused = pair.versions.command("cutover", pair.new, pair.old)
    assert refused.returncode == 2
    assert f"{pair.old} is not the shadow of {pair.new}" in refused.stderr
    for name in ("old-1", "old-2"):
        assert pair.lives[name].stop() == 0
    pair.lives["effect"] = pair.start("old-1", EFFECT="1")
    pair.lives["effect"].wait_for(READY, 60)
    refused = pair.versions.command("cutover", pair.old, pair.new, "--yes")
    assert refused.returncode == 2, refused.stderr
    assert f"{pair.old} cannot take part in a cut-over: step " in refused.stderr
    assert "calls a function (sink)" in refused.stderr
    assert pair.roles() == {"active", "shadow"}
    assert pair.lives["effect"].stop() == 0
    for name in ("old-1", "old-2"):
        pair.lives[name] = pair.start(name)
    pair.lives["old-1"].wait_for(READY, 60)
    assert pair.versions.done("cutover", pair.old, pair.new, "--dry-run")["stage"] == "ready"
    found = pair.versions.done("cutover", pair.old, pair.new)
    assert found["done"]
    assert found["answered"]
    assert found["pause_ms"] > 0
    for name in ("old-1", "old-2"):
        assert pair.lives[name].exit(60) == RETIRED
        assert f"{pair.new} has taken the place of {pair.old}" in pair.lives[name].log
    again = pair.start("old-1")
    assert again.exit(60) == RETIRED
    assert "tidemill savepoint restore" in again.log
    pair.lives["new-2"].kill()
    pair.lives["new-2"] = pair.start("new-2")
    pair.check()
    assert pair.versions.done("cutover", pair.old, pair.new)["earlier"]
    for name in ("new-1", "new-2"):
        assert pair.lives[name].stop() == 0


@pytest.mark.timeout(400)
def test_a_killed_command_is_called_again(stage: Stage) -> None:
    pair = Pair(stage)
    for nth in range(1, 5):
        ended = pair.cutover(f"during-cutover:{nth}")
        assert ended.returncode == KILLED, ended.stdout + ended.stderr
        if nth < 4:
            assert pair.roles() == {"active", "shadow"}
    # All tasks stand still. What starts meanwhile waits, and says so.
    assert pair.roles() == {"leaving", "arriving"}
    written = len(pair.versions.rows(stage.name("seen")))
    pair.lives["old-2"].kill()
    pair.lives["old-2"] = pair.start("old-2")
    pair.lives["old-2"].wait_for("is under way, and both stand still", 60)
    pair.lives["new-2"].kill()
    pair.lives["new-2"] = pair.start("new-2")
    pair.lives["new-2"].wait_for("is under way, and both stand still", 60)
    assert len(pair.versions.rows(stage.name("seen"))) == written
    assert pair.versions.done("cutover", pair.old, pair.new, "--undo")["undone"]
    client.wait_for(lambda: len(pair.versions.rows(stage.name("seen"))) > written + 100, 60, "the old version to go on")
    assert pair.roles() == {"active", "shadow"}
    refused = pair.versions.command("cutover", pair.old, pair.new, "--undo")
    assert "nothing to undo" in refused.stderr
    ended = pair.cutover("during-cutover:5")
    assert ended.returncode == KILLED, ended.stdout + ended.stderr
    assert pair.roles() == {"retired", "promoted"}
    assert pair.versions.done("cutover", pair.old, pair.new)["earlier"]
    pair.check()


@pytest.mark.timeout(400)
def test_killed_and_stopped_processes_lose_and_repeat_nothing(stage: Stage) -> None:
    pair = Pair(stage)
    pair.restart("old-1", "during-stand=stop")
    pair.restart("old-2", "during-stand")
    pair.restart("new-1", "during-stand")
    zombie = pair.lives["old-1"]
    command = threading.Thread(target=lambda: results.append(pair.cutover()))
    results: list[subprocess.CompletedProcess[str]] = []
    command.start()
    assert pair.lives["old-2"].exit(90) == KILLED
    assert pair.lives["new-1"].exit(90) == KILLED
    for name in ("old-2", "new-1"):
        pair.lives[name] = pair.start(name)
    command.join()
    assert results[0].returncode == 0, results[0].stderr
    assert pair.lives["old-2"].exit(60) == RETIRED
    zombie.child.send_signal(signal.SIGCONT)
    assert zombie.exit(60) == RETIRED
    pair.check()


@pytest.mark.timeout(400)
def test_repartitions_in_a_cycle_windows_joins_and_timers_are_handed_over(stage: Stage) -> None:
    hops, old, new = Hops(stage), stage.app_id, f"{stage.app_id}-fork"
    lives = [hops.instance(name, old, "results").start() for name in ("old-1", "old-2")]
    for life in lives:
        life.wait_for(READY, 60)
    hops.done("create", "kept")
    hops.done("fork", "kept", "--as", new, "--follow")
    lives += [hops.instance(name, new, "results").start() for name in ("new-1", "new-2")]
    lives[-1].wait_for(READY, 60)
    ended = hops.tidemill("cutover", old, new, "--json")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert [life.exit(60) for life in lives[:2]] == [RETIRED, RETIRED]
    lives[-1].kill()
    lives[-1] = hops.instance("new-2", new, "results").start()
    made = hops.input.stop()
    hops.settle(new)
    wanted = expected(made)
    found = hops.final("results")
    assert {place: found.get(place) for place in wanted} == wanted
    # Each count of a bucket, and each pair, is there once.
    rows = [(row.key, json.loads(row.value or b"[]")) for row in client.read(stage.broker, stage.name("results"))]
    counts = Counter((str(key), value) for key, (step, value) in rows if step == "count")
    assert set(counts.values()) == {1}
    assert len(counts) == made
    pairs = hops.pairs("results")
    assert len(pairs) == len(set(pairs)) == made // 2
    for life in lives[2:]:
        assert life.stop() == 0

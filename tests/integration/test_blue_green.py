"""A new version runs as the shadow of the old one, and what both write is compared."""

from __future__ import annotations

import pytest

from tests.brokers import client

from .blue_green import READY, Versions
from .stage import Stage

pytestmark = [pytest.mark.slow, pytest.mark.kafka]


@pytest.mark.timeout(240)
def test_a_shadow_is_compared_with_the_application(stage: Stage) -> None:
    versions, old = Versions(stage), stage.app_id
    same, other = f"{old}-same", f"{old}-other"
    lives = [versions.instance("old", old).start()]
    lives[0].wait_for(READY, 60)
    totals = stage.name("totals")
    client.wait_for(lambda: len(versions.rows(totals)) > 1_000, 60, "totals")
    versions.done("savepoint", "create", "APP", "base")
    # What has effects outside of topics is refused, before anything is created.
    refused = versions.command("savepoint", "fork", "APP", "base", "--as", same, "--follow", EFFECT="1")
    assert refused.returncode == 2
    assert "calls a function (sink)" in refused.stderr
    versions.fork("base", same)
    versions.fork("base", other, VERSION="2")
    shadows = [f"{app}-{stage.name(topic)}-shadow" for app in (same, other) for topic in ("seen", "totals")]
    assert sorted(shadows) == sorted(name for name in client.topics(stage.broker) if name.endswith("-shadow"))
    refused_life = versions.instance("effect", same, EFFECT="1").start()
    assert refused_life.exit(60) == 2
    assert "cannot run as a shadow" in refused_life.log
    lives += [versions.instance("same", same).start(), versions.instance("other", other, VERSION="2").start()]
    for life in lives[1:]:
        life.wait_for(READY, 60)
    # The same version writes the same, also after a kill.
    found = versions.done("compare", old, same)["sinks"]
    assert found.keys() == {totals, stage.name("seen")}
    lives[1].kill()
    lives[1] = versions.instance("same", same).start()
    made = versions.input.stop()
    found = versions.done("compare", old, same)["sinks"]
    for one in found.values():
        assert one["equal"] > 0
        assert (one["different"], one["missing_in_new"], one["missing_in_old"], one["not_judged"]) == (0, 0, 0, 0)
    # The other one differs as its program does.
    found = versions.done("compare", old, other, code=1)["sinks"]
    assert (found[totals]["missing_in_new"], found[totals]["missing_in_old"]) == (0, 0)
    assert found[totals]["different"] > 0
    for example in found[totals]["examples"]:
        assert example["kind"] == "different"
        assert example["old"]["key"].endswith("7")
    seen = found[stage.name("seen")]
    assert (seen["different"], seen["missing_in_old"]) == (0, 0)
    assert seen["missing_in_new"] > 0
    assert {example["new"] for example in seen["examples"]} == {None}
    shown = versions.command("compare", old, other)
    assert f"{totals}: key g-u" in shown.stdout
    # The shadows have written nothing to the output topics.
    assert (sorted(versions.rows(totals)), sorted(versions.rows(stage.name("seen")))) == versions.reference(made)
    assert "is not the shadow of" in versions.command("compare", same, old).stderr
    for life in lives:
        assert life.stop() == 0
    removed = versions.command("reset", same, "--yes", app_id=same)
    assert removed.returncode == 0, removed.stderr
    left = {name for name in client.topics(stage.broker) if name.endswith("-shadow")}
    assert left == {name for name in shadows if name.startswith(other)}

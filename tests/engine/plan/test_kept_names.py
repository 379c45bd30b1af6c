"""Tests of renamed steps: their former names, and the names under which their state is kept."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tests.support.examples import examples
from tidemill.engine.cli.reset import by_program
from tidemill.engine.plan.kept_names import refuse_former_names, unclaimed, with_kept_names
from tidemill.engine.plan.partition_growth import built_before, replanned
from tidemill.engine.plan.plan import Plan, partition, plan
from tidemill.operators.errors import TopologyError


def program(name: str, was: str | tuple[str, ...] = (), groups: str = "by-user", groups_was: str = "") -> tm.App:
    """A named aggregate behind a named repartition, and unnamed steps whose names derive from it."""
    app = tm.App("shop")
    source = app.stream("orders", key=tm.utf8, value=tm.json)
    grouped = source.group_by(lambda order: order["user"], key=tm.utf8).named(groups, was=groups_was or ())
    table = grouped.count().named(name, was=was)
    table.to_stream().map(lambda n: n % 10).group_by(lambda n: n, key=tm.int64).count().to("out")
    return app


def planned(app: tm.App, existing: dict[str, int]) -> Plan:
    parts = with_kept_names(partition(app.topology()), "shop", existing)
    return plan(parts, "shop", {"orders": 2, **existing})


def topics(found: Plan) -> dict[str, int]:
    return {topic.name: topic.partitions for topic in found.internal}


OLD = planned(program("totals"), {})


def test_the_topics_that_exist_stay_in_use_with_all_that_is_named_after_the_step() -> None:
    assert topics(OLD) == {
        "shop-by-user-repartition": 2,
        "shop-totals-changelog": 2,
        "shop-totals-count-repartition": 2,
        "shop-totals-count-changelog": 2,
    }
    new = planned(program("sums", "totals", "users", "by-user"), topics(OLD))
    assert topics(new) == topics(OLD)
    assert [part.name for part in new.subtopologies] == [part.name for part in OLD.subtopologies]
    assert [dict(part.changelogs) for part in new.subtopologies] == [
        dict(part.changelogs) for part in OLD.subtopologies
    ]
    assert [part.kept for part in new.subtopologies] == [{"sums": "totals", "sums-count": "totals-count"}] * 3
    assert [state.spec.name for part in new.subtopologies for state in part.stores] == ["totals", "totals-count"]
    assert new.subtopologies[1].fingerprint != OLD.subtopologies[1].fingerprint, "versions of different programs"


def test_without_topics_the_present_names_are_used() -> None:
    assert topics(planned(program("sums", "totals", "users", "by-user"), {})) == topics(
        planned(program("sums", (), "users"), {})
    )


def test_a_step_that_was_renamed_twice() -> None:
    assert topics(planned(program("third", ("second", "totals")), topics(OLD))) == topics(OLD)
    second = topics(planned(program("second"), {}))
    assert topics(planned(program("third", ("second", "totals")), second)) == second


def test_steps_renamed_at_different_times() -> None:
    def both(left: str, right: str, left_was: str = "", right_was: str = "") -> tm.App:
        app = tm.App("shop")
        tables = [
            app.table(topic, key=tm.utf8, value=tm.json).named(name, was=was or ())
            for topic, name, was in (("l", left, left_was), ("r", right, right_was))
        ]
        tables[0].join(tables[1], lambda a, b: a)
        return app

    def names(app: tm.App) -> set[str]:
        [join] = [node for node in app.topology().nodes if node.kind == "join"]
        return {join.name, *join.was}

    assert names(both("l", "r")) == {"l-r-join"}
    assert names(both("l2", "r2", "l", "r")) == {"l2-r2-join", "l-r2-join", "l2-r-join", "l-r-join"}


def test_topics_of_both_names_are_refused() -> None:
    both = {**topics(OLD), "shop-sums-changelog": 2}
    with pytest.raises(TopologyError, match="'shop-sums-changelog' and 'shop-totals-changelog' both exist"):
        planned(program("sums", "totals"), both)


def test_a_plan_that_grows_keeps_the_names() -> None:
    app = program("sums", "totals")
    parts = with_kept_names(partition(app.topology()), "shop", topics(OLD))
    running = plan(parts, "shop", {"orders": 2, **topics(OLD)})
    assert replanned(parts, running, {"orders": 3, **topics(OLD)}, {}).internal == running.internal
    assert {built.step for built in built_before(parts, "shop", topics(OLD), {})} == {"sums", "sums-count"}


def test_a_reset_removes_the_topics_of_all_names() -> None:
    app = program("sums", "totals", "users", "by-user")
    assert set(by_program("shop", app.topology(), topics(OLD)).topics) == topics(OLD).keys()


def test_changelogs_of_no_store() -> None:
    used = topics(planned(program("sums"), {}))
    assert unclaimed("shop", used, topics(OLD) | used) == ["shop-totals-changelog", "shop-totals-count-changelog"]
    assert unclaimed("shop", used, ["other-x-changelog", *used]) == []


def test_without_changelogs_a_rename_is_refused() -> None:
    refuse_former_names(program("sums").topology())
    with pytest.raises(TopologyError, match="give 'sums', 'sums-count' the former name again"):
        refuse_former_names(program("sums", "totals").topology())


def test_records_continue_where_the_old_version_stopped() -> None:
    with tm.testing.TopologyDriver(program("sums", "totals", "users", "by-user")) as driver:
        driver.send("orders", key="k", value={"user": "ada"}, timestamp=1)
        assert driver.store("sums").get("ada") == 1


def two(build: Callable[[tm.Stream, tm.Stream], object]) -> tm.App:
    app = tm.App("shop")
    build(*(app.stream(topic, key=tm.utf8, value=tm.json) for topic in "ab"))
    return app


def counts(stream: tm.Stream, name: str, was: str | tuple[str, ...] = ()) -> None:
    stream.group_by_key().count().named(name, was=was)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda a, b: (counts(a, "x", "old"), counts(b, "y", "old")), "the steps 'x' and 'y' both were 'old'"),
        (lambda a, b: (counts(a, "x", "y"), counts(b, "y")), "step 'x' cannot have been 'y': the program has a step"),
        (lambda a, b: (counts(a, "x", "y"), counts(b, "y", "x")), "cannot have been"),
        (lambda a, b: counts(a, "x", "x"), "step 'x' cannot have been 'x': that is its name"),
        (lambda a, b: counts(a, "x", "no name"), "former step name 'no name' is not usable"),
        (lambda a, b: (counts(a, "x", "p-state"), kept(b)), "cannot have been 'p-state': the store 'p-state' has"),
    ],
)
def test_invalid_renames_are_refused(build: Callable[[tm.Stream, tm.Stream], object], words: str) -> None:
    with pytest.raises(TopologyError, match=words):
        two(build).topology()


class Keeping(tm.Processor):
    state = tm.ValueState(int)

    def process(self, value, ctx):
        yield value


def kept(stream: tm.Stream) -> None:
    stream.process(Keeping).named("p")


names = st.sampled_from("abc")


@examples(100)
@given(st.lists(names, min_size=1, max_size=4, unique=True), st.data())
def test_a_history_of_names_never_loses_the_state(history: list[str], data: st.DataObject) -> None:
    """Whichever versions start, in whichever order, all find the topic of the first one."""
    existing: dict[str, int] = {}
    for version in range(len(history)):
        former = tuple(reversed(history[:version]))
        for _ in range(data.draw(st.integers(0, 1))):
            found = topics(planned(program(history[version], former), existing))
            assert not existing or found == existing
            existing = found
        if existing and version and data.draw(st.booleans()):  # a rollback
            before = planned(program(history[version - 1], tuple(reversed(history[: version - 1]))), existing)
            if any(f"shop-{name}-changelog" in existing for name in history[:version]):
                assert topics(before) == existing

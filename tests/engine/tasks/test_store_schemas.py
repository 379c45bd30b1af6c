"""Tests that a store with a different type in an earlier version of the program is refused at the start."""

from collections.abc import Callable

import msgspec
import pytest

import tidemill as tm
from tidemill.engine.plan.plan import partition, plan
from tidemill.engine.tasks.store_schemas import check_shapes, shapes_metadata
from tidemill.operators.graph.topology import OperatorState
from tidemill.operators.stores.expiring import ExpiringStore, UndoLog
from tidemill.state.cache import StateCache
from tidemill.state.memory import MemoryStore


class Row(msgspec.Struct):
    n: int = 0


class Wider(msgspec.Struct):
    n: int = 0
    more: str = ""


def keeping(state):
    class Keep(tm.Processor):
        kept = state

        def process(self, value, ctx):
            yield value

    return Keep


def stores(build: Callable[[tm.App], object]) -> tuple[OperatorState, ...]:
    app = tm.App("k")
    build(app)
    topology = app.topology()
    names = [topic for source in topology.sources for topic in source.topics]
    found = plan(partition(topology), "k", dict.fromkeys(names, 1), {})
    return tuple(state for subtopology in found.subtopologies for state in subtopology.stores)


def grouped(build, key=tm.utf8):
    return lambda app: build(app.stream("in", key=key, value=tm.json).group_by_key()).named("totals")


def processor(state):
    return lambda app: app.stream("in", key=tm.utf8, value=tm.json).process(keeping(state)).named("totals")


def joined(value):
    def build(app):
        left, right = (app.table(name, key=tm.utf8, value=value) for name in ("l", "r"))
        left.join(right, lambda a, b: a).named("totals")

    return build


COUNT = grouped(lambda g: g.count())
WINDOWS = grouped(lambda g: g.window(tm.tumbling("1m")).count())
COLUMNS = grouped(lambda g: g.aggregate(n=tm.count()))
REFUSED = [
    (COUNT, WINDOWS),
    (COUNT, COLUMNS),
    (COUNT, grouped(lambda g: g.count(), key=tm.int64)),  # type: ignore[arg-type]
    (WINDOWS, grouped(lambda g: g.window(tm.session(gap="1m")).count())),
    (COLUMNS, grouped(lambda g: g.aggregate(dict, lambda a, v: a))),
    (grouped(lambda g: g.reduce(max, value=tm.json)), grouped(lambda g: g.reduce(max, value=tm.msgpack))),
    (processor(tm.ValueState(int)), processor(tm.ValueState(dict))),
    (processor(tm.ValueState(int)), processor(tm.ListState(int))),
    (joined(tm.json), joined(tm.msgpack)),
]
ALLOWED = [
    (COLUMNS, grouped(lambda g: g.aggregate(n=tm.count(), total=tm.sum("n")))),
    (WINDOWS, grouped(lambda g: g.window(tm.hopping("1h", every="1m")).count())),
    (grouped(lambda g: g.reduce(max, value=tm.json(Row))), grouped(lambda g: g.reduce(max, value=tm.json(Wider)))),
    (processor(tm.ValueState(int)), processor(tm.ValueState(float, default=0.0))),
    (processor(tm.ValueState(Row)), processor(tm.ValueState(Wider, ttl="1h"))),
]


@pytest.mark.parametrize(("before", "after"), [*REFUSED, *(pair[::-1] for pair in REFUSED)])
def test_another_shape_under_the_same_name_is_refused(before, after):
    metadata = "t=5;n=1;a=2" + shapes_metadata(stores(before))
    with pytest.raises(tm.TopologyError, match=r"store '.*' of task 0_0 holds '.*', and is '.*'.*\.named\("):
        check_shapes("0_0", stores(after), metadata)


@pytest.mark.parametrize(("before", "after"), [*ALLOWED, *(pair[::-1] for pair in ALLOWED)])
def test_changes_that_leave_entries_readable_are_allowed(before, after):
    check_shapes("0_0", stores(after), "t=5;n=1;a=2" + shapes_metadata(stores(before)))


def moved(grouped_by):
    app = tm.App("k")
    grouped_by(app.stream("in", key=tm.utf8, value=tm.json)).count().named("totals")
    return plan(partition(app.topology()), "k", {"in": 1}, {})


@pytest.mark.parametrize("swap", [False, True])
def test_a_store_that_moves_behind_another_topic_is_known(swap):
    """It is recognized by the topic that both versions read, although its sub-topology differs."""
    versions = [moved(lambda s: s.group_by_key()), moved(lambda s: s.group_by(len, key=tm.int64))]
    before, after = reversed(versions) if swap else versions
    [reading] = [subtopology for subtopology in before.subtopologies if subtopology.name == "in"]
    metadata = "t=5" + shapes_metadata(reading.program_stores)
    [reading] = [subtopology for subtopology in after.subtopologies if subtopology.name == "in"]
    with pytest.raises(tm.TopologyError, match="store 'totals' of task 0_0 holds"):
        check_shapes("0_0", reading.program_stores, metadata)


def test_metadata_of_an_earlier_version_has_no_schemas():
    for metadata in ("", "t=5", "t=5;n=1;a=2;i=abc"):
        check_shapes("0_0", stores(COUNT), metadata)


def counts(number, count=lambda grouped: grouped.count()):
    def many(app):
        stream = app.stream("in", key=tm.utf8, value=tm.json)
        for place in range(number):
            count(stream.group_by_key()).named(f"count-{place}")

    return stores(many)


@pytest.mark.parametrize("number", [1, 30, 35, 100, 150, 300])
def test_metadata_has_room_for_many_stores(number):
    before, after = counts(number), counts(number, lambda grouped: grouped.aggregate(n=tm.count()))
    text = shapes_metadata(before)
    assert len(text) < 1010
    check_shapes("0_0", before, "t=5" + text)
    check_shapes("0_0", counts(number + 7), "t=5" + text)
    for state in after[:150] if number <= 150 else ():
        with pytest.raises(
            tm.TopologyError, match=f"store '{state.spec.name}' of task 0_0 holds .*, and is 'aggregate"
        ):
            check_shapes("0_0", (state,), "t=5" + text)


def keyed_by(step, value):
    """A step whose stores depend on the serde of its values."""

    def build(app):
        stream, other = (app.stream(name, key=tm.utf8, value=value) for name in ("in", "other"))
        step(stream, other).named("totals")

    return build


STORES = {
    "table": lambda s, o: s.to_table(),
    "history": lambda s, o: s.to_table(history="1h"),
    "suppress": lambda s, o: s.to_table().suppress(until="1s"),
    "stream join": lambda s, o: s.join(o, max, within="1h"),
    "outer join": lambda s, o: s.join(o, max, within="1h", how="outer"),
    "table lookup": lambda s, o: s.join(o.to_table(), max),
    "as of": lambda s, o: s.join(o.to_table(history="1h"), max, as_of=True, grace="1s"),
    "table join": lambda s, o: s.to_table().join(o.to_table(), max),
    "foreign key": lambda s, o: s.to_table().join(o.to_table(), on=str, function=max),
    "batch": lambda s, o: s.map_batch(list, max_wait="1s"),
    "cogroup": lambda s, o: s.group_by_key().cogroup(max).aggregate(int, value=s.reference.value),
}


@pytest.mark.parametrize("step", STORES)
def test_every_store_has_a_schema(step):
    before, after = (stores(keyed_by(STORES[step], value)) for value in (tm.json, tm.msgpack))
    assert all(state.shape for state in before)
    metadata = "t=5" + shapes_metadata(before)
    check_shapes("0_0", before, metadata)
    with pytest.raises(tm.TopologyError, match="would be misread"):
        check_shapes("0_0", after, metadata)


@pytest.mark.parametrize(
    ("before", "after", "method"),
    [
        (tm.ValueState(int, name="s"), tm.ValueState(dict, name="s"), "get"),
        (tm.ListState(int, name="s"), tm.ListState(str, name="s"), "popleft"),
        (tm.MapState(str, int, name="s"), tm.MapState(str, dict, name="s"), "popitem"),
        (tm.MapState(str, int, name="s"), tm.MapState(int, int, name="s"), "__iter__"),
    ],
)
def test_a_value_of_another_type_is_refused_when_it_is_read(before, after, method):
    at_hand = type("AtHand", (), {"key": "k", "state_time": 0})()
    codec = before.codec(tm.utf8)
    cache = StateCache(MemoryStore(), "s", codec)
    first, second = (
        state.bind(ExpiringStore(cache, UndoLog(), at_hand, tm.utf8.encode, None, {}), watermarked=False)  # type: ignore[arg-type]
        for state in (before, after)
    )
    if isinstance(before, tm.ValueState):
        first.set(7)
    elif isinstance(before, tm.ListState):
        first.append(7)
    else:
        first["x"] = 7
    with pytest.raises(
        TypeError, match=r"store 's' holds a (int|str) of an earlier version .*declared with (dict|str|int)"
    ):
        getattr(second, method)()

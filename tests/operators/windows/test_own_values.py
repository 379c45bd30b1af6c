"""Tests that each of several windows or columns gets its own unchanged value of a record."""

import pytest

import tidemill as tm

WINDOWS = [tm.hopping(10, every=5), tm.sliding(10)]


def greedy(so_far, value):
    """Remove everything from the value."""
    while value["n"]:
        so_far.append(value["n"].pop())
    return so_far


def app_of(fold):
    app = tm.App("p")
    fold(app.stream("a", key=tm.utf8, value=tm.json).group_by_key(), app).named("w")
    return app


FOLDS = {
    "hopping": lambda s, app: s.window(WINDOWS[0]).aggregate(list, greedy),
    "sliding": lambda s, app: s.window(WINDOWS[1]).aggregate(list, greedy),
    "cogroup": lambda s, app: s.cogroup(greedy).window(WINDOWS[0]).aggregate(list),
}


@pytest.mark.parametrize("name", FOLDS)
def test_a_function_that_changes_the_value_does_so_in_one_window(name):
    with tm.testing.TopologyDriver(app_of(FOLDS[name])) as driver:
        driver.send_all("a", [tm.Record("k", {"n": [time]}, time) for time in (5, 6)])
        found = {key.start: value for key, value in driver.store("w").items()}
    assert found == ({0: [5, 6], 6: [6]} if name == "sliding" else {0: [5, 6], 5: [5, 6]})


def length(value):
    """Of the list in the value, which it empties."""
    found = len(value["n"])
    value["n"].clear()
    return found


MADE = []


def made(value):
    """One list, each time a longer one."""
    MADE.append(value["n"][0])
    return MADE


COLUMNS = {
    "functions": ({"a": tm.sum(length), "b": tm.max(lambda value: len(value["n"]))}, {"a": 2, "b": 1}),
    "a field": ({"a": tm.first("n"), "b": tm.sum(length), "c": tm.last("n")}, {"a": [5], "b": 2, "c": [6]}),
    "the value": ({"a": tm.collect(), "b": tm.count(length)}, {"a": [{"n": [5]}, {"n": [6]}], "b": 2}),
    "the best": (
        {"a": tm.top(1, by=length, field="n"), "b": tm.top(2, by=length, field=length), "c": tm.last("n")},
        {"a": [[5]], "b": [1, 1], "c": [6]},
    ),
    "what is given again": ({"a": tm.first(made), "b": tm.collect(made)}, {"a": [5], "b": [[5], [5, 6]]}),
    "the best, given again": ({"a": tm.top(2, by=length, field=made)}, {"a": [[5], [5, 6]]}),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_function_of_a_column_shares_nothing_with_the_others_or_the_state(name):
    columns, right = COLUMNS[name]
    MADE.clear()
    with tm.testing.TopologyDriver(app_of(lambda s, app: s.aggregate(**columns))) as driver:
        driver.send_all("a", [tm.Record("k", {"n": [time]}, time) for time in (5, 6)])
        assert dict(driver.store("w").items()) == {"k": right}


def test_a_function_of_a_column_changes_the_value_in_no_other_window():
    app = app_of(lambda s, app: s.window(WINDOWS[0]).aggregate(a=tm.sum(length), b=tm.last("n")))
    with tm.testing.TopologyDriver(app) as driver:
        driver.send("a", "k", {"n": [5]}, timestamp=5)
        assert [value for _, value in driver.store("w").items()] == [{"a": 1, "b": [5]}] * 2


def test_a_function_that_finds_a_foreign_key_changes_no_row():
    def key(row):
        return str(row["n"].pop())

    app = tm.App("p")
    left, right = (app.table(topic, key=tm.utf8, value=tm.json) for topic in "ab")
    left.join(right, lambda row, other: [row["n"], other], on=key).named("w")
    with tm.testing.TopologyDriver(app) as driver:
        driver.send("b", "1", "one")
        for rows in ([2, 1], [3, 1]):
            driver.send("a", "k", {"n": rows})
            assert dict(driver.store("w").items()) == {"k": [rows, "one"]}
        driver.send("b", "1", "two")
        assert dict(driver.store("w").items()) == {"k": [[3, 1], "two"]}


STORES = {
    "table": lambda s: s.to_table(),
    "history": lambda s: s.to_table(history=10),
    "columns": lambda s: s.group_by_key().aggregate(a=tm.last("n"), b=tm.first()),
    "held back": lambda s: s.to_table().suppress(until=10),
}


@pytest.mark.parametrize("name", STORES)
def test_what_a_test_does_to_what_it_reads_changes_no_state(name):
    app = tm.App("p")
    STORES[name](app.stream("a", key=tm.utf8, value=tm.json)).named("w")
    with tm.testing.TopologyDriver(app) as driver:
        driver.send("a", "k", {"n": [1]}, timestamp=5)
        for read in (lambda: driver.store("w").get("k"), lambda: dict(driver.store("w").items())["k"]):
            right = repr(read())
            for part in read().values():
                part.clear()
            assert repr(read()) == right

"""Where one record counts in several windows, each of them sees it as it came."""

import pytest

import tidemill as tm

WINDOWS = [tm.hopping(10, every=5), tm.sliding(10)]


def greedy(so_far, value):
    """Takes everything out of the value."""
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

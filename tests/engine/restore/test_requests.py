"""Tests of cancelled openings of tasks: they have no effect, however far recovery has progressed."""

from __future__ import annotations

from typing import cast

import pytest

from tidemill.engine.ids import TaskId
from tidemill.engine.restore.opening import Closed, Ready
from tidemill.engine.restore.requests import Requests
from tidemill.state.store import Store

TASK = TaskId(0, 0)


class Opened:
    """A store that is open."""

    closed = False

    def close(self) -> None:
        self.closed = True


def ready(number: int) -> tuple[Ready, Opened]:
    store = Opened()
    return Ready(TASK, number, {"memory": cast("Store", store)}, {}, frozenset(), -1, 0), store


@pytest.mark.parametrize("earlier", [True, False])
def test_what_a_cancelled_opening_has_opened_is_closed(earlier: bool) -> None:
    requests, (answer, store) = Requests(), ready(1)
    if earlier:
        requests.cancel([1])
    requests.ready(answer)
    if not earlier:
        requests.cancel([1])
    assert store.closed
    assert requests.answers() == []


def test_a_later_opening_of_the_same_task_is_not_cancelled() -> None:
    requests, (answer, store) = Requests(), ready(2)
    requests.cancel([1])
    assert requests.wanted(2)
    assert not requests.wanted(1)
    requests.ready(answer)
    requests.closed(TASK, 1)
    assert requests.answers() == [answer, Closed(TASK, 1)]
    assert not store.closed


def test_what_was_opened_is_closed_when_recovery_has_failed_or_nothing_fetches_it() -> None:
    requests = Requests()
    for number in (1, 2):
        answer, store = ready(number)
        requests.ready(answer)
        if number == 1:
            requests.failed(ZeroDivisionError())
            with pytest.raises(ZeroDivisionError):
                requests.answers()
        else:
            requests.close()
        assert store.closed

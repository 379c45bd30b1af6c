"""A savepoint is refused while a history is being read."""

from __future__ import annotations

import pytest

from tidemill.engine.savepoints.histories import refuse_histories
from tidemill.operators.errors import ConfigError

PIECES = ("app-views-history-pieces-repartition", 0)
OLD = ("app-views-history-repartition", 1)


def test_histories_that_have_not_ended_are_refused() -> None:
    refuse_histories("app", {("views", 1): (5, "t=3"), PIECES: (9, "t=3")})
    refuse_histories("app", {OLD: (7, "t=3;n=5;a=6;h=-1"), PIECES: (9, "t=3")})
    with pytest.raises(ConfigError, match="still reading a history"):
        refuse_histories("app", {OLD: (7, "t=3;n=5;a=6"), PIECES: (9, "t=3")})


def test_a_step_that_is_called_history_is_none() -> None:
    refuse_histories("app", {OLD: (7, "t=3")})

"""Exit codes follow from the class of an error alone."""

from __future__ import annotations

import pytest

from tidemill.engine import errors
from tidemill.engine.errors import exit_code
from tidemill.operators.record import Record

CODES = {
    errors.RecordError("step", 0, Record(None, None, 0), []): 1,
    errors.ConfigError("x"): 2,
    errors.TopologyError("x"): 2,
    errors.RecordRejected("x"): 1,
    errors.Retryable("x"): 3,
    errors.CommitOutcomeUnknown("x"): 3,
    errors.Fenced("x"): 3,
    errors.Fatal("x"): 3,
    errors.StateCorrupt("0_1", "torn"): 4,
    errors.StateUnusable("x"): 4,
    KeyError("x"): 70,
    errors.TidemillError("x"): 70,
    KeyboardInterrupt(): 130,
}


@pytest.mark.parametrize(("error", "code"), CODES.items(), ids=lambda value: type(value).__name__)
def test_exit_codes(error: BaseException, code: int) -> None:
    assert exit_code(error) == code


def test_corrupt_state_names_its_task() -> None:
    assert str(errors.StateCorrupt("0_1", "torn")) == "the state of task 0_1 is not usable: torn"

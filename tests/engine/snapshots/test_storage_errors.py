"""Tests of the classification of errors of storage clients."""

from __future__ import annotations

import pytest

from tidemill.engine.snapshots.storage_errors import is_lasting, is_starting, reason

SAFE_MODE = RuntimeError(
    'RPCError("org.apache.hadoop.hdfs.server.namenode.SafeModeException", "Cannot create file/c. Name node is in safe '
    "mode.\\nThe reported blocks 0 needs additional 1 blocks to reach the threshold 0.9990 of total blocks 2."
    '\\n\\tat org.apache.hadoop.hdfs.server.namenode.FSNamesystem.newSafemodeException(FSNamesystem.java:1687)\\n")'
)
NOT_A_FOLDER = RuntimeError(
    'RPCError("org.apache.hadoop.fs.ParentNotDirectoryException", "/b (is not a directory)'
    '\\n\\tat org.apache.X(X.java:9)")'
)


class Http(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}\nRequest: 17")
        self.status_code = status


def test_the_stack_of_a_name_node_is_left_out() -> None:
    assert reason(SAFE_MODE) == (
        "Cannot create file/c. Name node is in safe mode. The reported blocks 0 needs additional 1 blocks to reach the "
        "threshold 0.9990 of total blocks 2."
    )
    assert reason(FileExistsError("/b already exists\n\tat org.apache.X.y(X.java:5)\n\tat z")) == "/b already exists"


def test_an_error_without_text_is_named_by_its_class() -> None:
    assert reason(TimeoutError()) == "TimeoutError"


@pytest.mark.parametrize(
    ("error", "lasting"),
    [
        (SAFE_MODE, False),
        (NOT_A_FOLDER, True),
        (PermissionError("no"), True),
        (OSError("500 internal error"), False),
        (Http(403), True),
        (Http(404), True),
        (Http(503), False),
    ],
)
def test_what_does_not_pass_is_not_tried_again(error: Exception, lasting: bool) -> None:
    assert is_lasting(error) == lasting


def test_only_safe_mode_is_waited_for() -> None:
    assert is_starting(SAFE_MODE)
    assert not is_starting(OSError("connection refused"))
    assert not is_starting(NOT_A_FOLDER)

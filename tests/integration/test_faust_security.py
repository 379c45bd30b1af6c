"""A Faust application that logs in by `broker_credentials`, with and without TLS, on a real broker."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from .secure import Secure
from .stage import Stage
from .test_faust import faust_with, values

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


@pytest.mark.parametrize(
    ("protocol", "mechanism"),
    [("SASL_SSL", "SCRAM-SHA-512"), ("SASL_SSL", "PLAIN"), ("SASL_PLAINTEXT", "SCRAM-SHA-256")],
)
def test_credentials_of_the_application(
    secure_broker: Secure, app_id: str, tmp_path: Path, protocol: str, mechanism: str
) -> None:
    """Events, tables, what agents send and the membership: all of it goes over the connection that is asked for."""
    stage = Stage(secure_broker.kafka, app_id, tmp_path, secure_broker.bootstrap[protocol])
    try:
        stage.topics("items", "found")
        ca = str(secure_broker.folder / "ca.pem") if protocol == "SASL_SSL" else ""
        program = faust_with(stage, "faust_secure", {"MECHANISM": mechanism, "CA": ca})
        life = program.start()
        stage.send("items", [(b"a", b"2"), (b"a", b"3")])
        stage.wait_for_rows("found", 2, timeout=60)
        life.kill()
        life = program.start()
        stage.send("items", [(b"a", orjson.dumps(4))])
        stage.wait_for_rows("found", 3, timeout=60)
        assert life.stop() == 0
        assert values(stage, "found") == {"a": [2, 5, 9]}
    finally:
        stage.close()


def test_a_wrong_password_is_said(secure_broker: Secure, app_id: str, tmp_path: Path) -> None:
    stage = Stage(secure_broker.kafka, app_id, tmp_path, secure_broker.bootstrap["SASL_PLAINTEXT"])
    try:
        stage.topics("items", "found")
        variables = {"MECHANISM": "SCRAM-SHA-256", "PASSWORD": "guess"}
        life = faust_with(stage, "faust_secure", variables, connect_timeout="10s").start()
        assert life.exit(60) != 0
        assert "uthentication" in life.log or "refused the log-in" in life.log
        assert "guess" not in life.log
    finally:
        stage.close()

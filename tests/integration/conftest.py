"""Fixtures of integration tests: a `Stage` on the shared broker, or on a broker for this test alone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.brokers import jars
from tests.brokers.kafka import Kafka

from . import secure
from .secure import Secure
from .stage import Stage


@pytest.fixture
def stage(kafka: Kafka, app_id: str, tmp_path: Path) -> Iterator[Stage]:
    """Topics and programs on the shared broker."""
    stage = Stage(kafka, app_id, tmp_path)
    yield stage
    stage.close()


@pytest.fixture
def own_stage(own_kafka: Kafka, app_id: str, tmp_path: Path) -> Iterator[Stage]:
    """Topics and programs on a broker for this test alone, which the programs reach through a proxy."""
    stage = Stage(own_kafka, app_id, tmp_path, own_kafka.proxied_bootstrap)
    yield stage
    stage.close()


@pytest.fixture(scope="module")
def secure_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    """A broker with TLS and SASL for the tests of a module."""
    if shutil.which("openssl") is None:
        pytest.skip("left out: openssl is not installed, so no certificates can be created")
    try:
        jars.classpath()
    except jars.Unavailable as reason:
        pytest.skip(f"left out: {reason}")
    running = secure.start(tmp_path_factory.mktemp("secure"))
    yield running
    running.kafka.close()

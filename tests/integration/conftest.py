"""Stages: the shared broker, and a broker of the test's own behind its proxy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.brokers.kafka import Kafka

from .stage import Stage


@pytest.fixture
def stage(kafka: Kafka, app_id: str, tmp_path: Path) -> Iterator[Stage]:
    """Topics and programs on the broker that all tests share."""
    stage = Stage(kafka, app_id, tmp_path)
    yield stage
    stage.close()


@pytest.fixture
def own_stage(own_kafka: Kafka, app_id: str, tmp_path: Path) -> Iterator[Stage]:
    """Topics and programs on a broker of the test's own; the programs reach it through its proxy."""
    stage = Stage(own_kafka, app_id, tmp_path, own_kafka.proxied_bootstrap)
    yield stage
    stage.close()

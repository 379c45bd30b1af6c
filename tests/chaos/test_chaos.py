"""A minute of random faults; `make chaos` runs the same for any time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.brokers.kafka import Kafka
from tests.integration.eos.trial import seeded

from .run import Order, last_words, play

pytestmark = [pytest.mark.slow]

SECONDS = 50.0


@pytest.mark.timeout(420)
def test_a_minute_of_random_faults(
    ways: Kafka, app_id: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The seed determines whether snapshots are used instead of changelogs."""
    seed, _ = seeded()
    lines: list[str] = []
    order = Order(seed, SECONDS, rate=200, snapshots=seed % 2 == 1)
    result = play(ways, app_id, tmp_path / "round", order, lines.append, lambda now: None)
    with capsys.disabled():
        print(
            f"\nseed {seed}: {result.faults.total()} faults of {len(result.faults)} kinds, {result.records} transfers, "
            f"{result.openings} openings of a task, longest outages "
            f"{seconds(result.silences)} (Kafka itself {seconds(result.kafka_silences)}), caught up in "
            f"{result.caught_up:.1f} s"
        )
    assert result.violations == [], "\n".join(
        [
            f"make chaos SEED={seed} DURATION={SECONDS:.0f}s{order.option}",
            *result.violations,
            *lines,
            last_words(tmp_path / "round"),
        ]
    )
    assert result.faults.total() >= 15
    assert result.records == result.outputs


def seconds(silences: list[float]) -> str:
    return f"{', '.join(f'{each:.1f}' for each in silences)} s"

"""Send bytes that another program has encoded to a topic of a driver."""

from __future__ import annotations

import tidemill as tm

__all__ = ["send_bytes"]


def send_bytes(
    driver: tm.testing.TopologyDriver,
    topic: str,
    key: bytes | None,
    value: bytes | None,
    *,
    headers: tuple[tuple[str, bytes | None], ...] = (),
    partition: int = -1,
) -> None:
    """Write one record, and process what follows from it."""
    driver._deliver(topic, [(key, value, driver.clock.now(), list(headers) or None, partition)])
    driver._pump()
    driver._commit()

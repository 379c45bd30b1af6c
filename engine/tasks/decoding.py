"""What can be taken of a batch: its records, but for those that a policy drops."""

from __future__ import annotations

from ...operators.errors import RecordError
from ...operators.graph.codecs import Decoder, Records
from ...operators.policy import ErrorPolicy
from ...operators.record import Batch
from ..dropped_records import Skips

__all__ = ["decoded"]


def decoded(
    reader: Decoder, batch: Batch, now: int, policy: ErrorPolicy, skips: Skips, task: str | None = None
) -> Records:
    """The records of a batch; raises RecordError for the first that cannot be taken, if that is the policy."""
    records: Records = []
    rest: Batch | None = batch
    while rest is not None:
        try:
            last = reader.decode(rest, now)
            return records + last if records else last
        except RecordError as error:
            error.at(batch.topic, batch.partition, task)
            if policy is ErrorPolicy.FAIL:
                raise
            skips.add(error.step, error.counted, error)
            records += error.done
            rest = rest.after(error.index)
    return records

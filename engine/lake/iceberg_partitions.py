"""Partitions of Iceberg as users write them: `kind`, `day(at)`, `bucket(16, user)`. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from ...operators.errors import TopologyError

__all__ = ["PartitionField", "partition_fields"]

FORM: Final = re.compile(r"(?:(year|month|day|hour)\((?P<column>[^,()]+)\)|(bucket|truncate)\((\d+), *([^,()]+)\))")


class PartitionField(NamedTuple):
    """A field of a partition spec."""

    column: str
    transform: str
    """As Iceberg writes it: `identity`, `day`, `bucket[16]`."""


def partition_fields(given: Sequence[str], columns: Sequence[str], where: str) -> tuple[PartitionField, ...]:
    """Return the fields of a partition spec; `where` begins a message.

    Raises TopologyError for another form, and for a column that there is not.
    """
    fields: list[PartitionField] = []
    for text in given:
        found = FORM.fullmatch(text)
        if found is None:
            field = PartitionField(text, "identity")
        elif found[1]:
            field = PartitionField(found["column"].strip(), found[1])
        else:
            field = PartitionField(found[5].strip(), f"{found[3]}[{found[4]}]")
        if field.column not in columns:
            raise TopologyError(
                f"{where}: partition_by={text!r} is neither a column nor year, month, day or hour(column), "
                f"bucket(16, column) or truncate(4, column); the columns are {', '.join(columns)}"
            )
        fields.append(field)
    return tuple(fields)

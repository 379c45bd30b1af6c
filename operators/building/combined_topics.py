"""Which repartition topics have combined records, and the steps that make them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ..graph.combined import CombinedSerde
from ..graph.operator import Operator
from ..serdes.auto import AutoValue
from ..serdes.base import Packed, Serde, Utf8, Uuid, is_closed
from ..serdes.json import Json
from .specs import Combination, RepartitionSpec, SourceSpec, StepContext, StepSpec
from .step import StepDefinition

__all__ = ["combined_topics", "combining_specs"]

SAME_AGAIN = (Json, AutoValue, Packed, Utf8, Uuid)
"""Serdes that read again the same value that they have read, once it is written."""


def combined_topics(steps: Sequence[StepDefinition], updates: Sequence[bool]) -> Mapping[int, StepDefinition]:
    """Return the repartitions whose topics may have combined records.

    Each with the step that can read these. That step is the only reader, and nothing comes between. `updates`
    tells which steps send old rows.
    """
    readers = Counter(edge.node for step in steps for edge in step.inputs)
    found: dict[int, StepDefinition] = {}
    for step in steps:
        if step.spec.combination is None or len(step.inputs) != 1:
            continue
        before = steps[step.inputs[0].node]
        spec = before.spec
        alone = readers[before.id] == 1 and not updates[before.id]
        if alone and isinstance(spec, RepartitionSpec) and spec.rewrite is not None and _plain(spec.value):
            found[before.id] = step
    return found


def combining_specs(
    topic: StepDefinition, reader: StepDefinition, steps: Sequence[StepDefinition]
) -> tuple[StepSpec, ...]:
    """Return the specification of such a repartition.

    Before it is that of the step that combines the records, if the reader sends its results at the commit.
    """
    spec, combination = topic.spec, reader.spec.combination
    assert isinstance(spec, RepartitionSpec)
    assert combination is not None
    assert spec.rewrite is not None
    assert spec.key is not None
    assert spec.value is not None
    serde = CombinedSerde(spec.value, combination.keep, combination.restore)
    if reader.spec.on_commit is None:
        return (replace(spec, operator=spec.rewrite(spec.by, serde), value=serde),)
    read_again = None if _is_as_read(topic, spec.value, steps) else spec.value
    operator = partial(_combine, combination, spec, spec.key, read_again)
    combine = StepSpec(kind="combine", operator=operator, combines=True, calls=spec.by is not None)
    written = replace(spec, operator=spec.rewrite(None, serde), value=serde, calls=False, combined=True)
    return combine, written


def _combine(
    combination: Combination, spec: RepartitionSpec, key: Serde[Any], value: Serde[Any] | None, context: StepContext
) -> Operator:
    return combination.operator(context.name, spec.by, key, value)


def _plain(serde: Serde[Any] | None) -> bool:
    """Return whether all of a value is in its bytes, and not in headers."""
    extra = ("with_id", "with_attributes", "decode_with_headers", "local")
    return serde is not None and not any(hasattr(serde, name) for name in extra)


def _is_as_read(topic: StepDefinition, serde: Serde[Any], steps: Sequence[StepDefinition]) -> bool:
    """Return whether the values are as they were read from another topic by the same serde."""
    known = isinstance(serde, SAME_AGAIN) and is_closed(serde)
    if not known or hasattr(getattr(serde, "model", None), "__post_init__"):
        return False
    step = steps[topic.inputs[0].node]
    while step.kind == "filter" and not step.spec.stores:
        step = steps[step.inputs[0].node]
    return isinstance(step.spec, (SourceSpec, RepartitionSpec)) and step.spec.value is serde

"""Which rows of tables a step can read where they are, and need not store itself."""

from __future__ import annotations

from .specs import RepartitionSpec, SourceSpec
from .step import StepDefinition
from .stream_reference import StreamReference

__all__ = ["stored_rows"]


def stored_rows(table: StreamReference, *others: StreamReference) -> StepDefinition | None:
    """Return the step whose store has the rows of a table, as a reader of it and `others` needs.

    None if the store may be ahead of what the reader has received. It never is where

    - the table is what the step sends, which is each change at once,
    - what comes before the step sends its results at once, too, so that rows change only while the task walks records
      of the table's sources through the steps, and
    - none of the others comes from such a source, so that the walk brings no record that would have to see the rows as
      they were in the middle of it.
    """
    step = table.step
    if step.spec.row_of is None:
        return None
    before = table.builder.steps_to(step)
    elsewhere = {one.id for other in others for one in table.builder.steps_to(other.step)}
    if all(_at_once(one) for one in before) and not any(_is_read(one) and one.id in elsewhere for one in before):
        return step
    return None


def _is_read(step: StepDefinition) -> bool:
    return isinstance(step.spec, (SourceSpec, RepartitionSpec))


def _at_once(step: StepDefinition) -> bool:
    """Return whether a step sends results only while it processes records.

    Steps without stores cannot do otherwise.
    """
    return _is_read(step) or not step.spec.stores or step.spec.row_of is not None

"""What is known of a store after all of its entries have been read.

An entry that no rule puts where it lies ends the survey: the store is under other keys than its records, or producers
choose partitions in a way of their own, so the new place of a key is not known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...operators.graph.topology import OperatorState
from ...operators.stores.entries import STREAM_TIME_KEY
from ...state.codec import Placement, References
from ...state.store import unframe
from ..errors import ConfigError
from ..kafka.partitioners import MURMUR2
from .digest import Digest
from .parts import Part
from .rules import Rule, placed, predecessors, rules_for

__all__ = ["ChosenRules", "StoreSurvey", "chosen", "content_of"]


class StoreSurvey:
    """One store, over all tasks of its sub-topology."""

    def __init__(self, name: str, part: Part, target: Part | None) -> None:
        """`target` is the sub-topology whose partitions its values name."""
        state = part.stores[name]
        assert state.codec.placement is not None  # or it was refused
        self.name = name
        self.state: OperatorState = state
        self.part = part
        self.target = target
        self.placement: Placement = state.codec.placement
        self.rules: frozenset[Rule] = rules_for(self.placement.suffix, part.partitioners)
        """The rules that explain the places of all keys."""
        references = self.placement.references
        self.target_rules: frozenset[Rule] = (
            frozenset() if references is None or target is None else rules_for(references.suffix, target.partitioners)
        )
        self.digest = Digest()
        self.books: dict[bytes, dict[int, bytes]] = {}
        """The entries of tasks themselves, by encoded key and task."""
        self._starts: dict[int, set[int]] = {}
        """The starts of windows whose results are sent once, by task."""

    def add(self, task: int, key: bytes, stored: bytes) -> None:
        """Take an entry. Raises ConfigError if no rule explains its place."""
        value = unframe(stored)
        owner = self.placement.key(key, value)
        if owner is None:
            self.books.setdefault(key, {})[task] = stored
            return
        self.digest.add(*content_of(self.placement, key, value))
        if not self.placement.numbered:
            self.rules = self._explaining(self.rules, owner, self.placement.suffix, task, self.part.old)
        references = self.placement.references
        if references is not None and self.target is not None:
            self.target_rules = self._refer(references, self.target, key, value, task)
        if self.placement.unsent is not None:
            self._starts.setdefault(task, set()).add(self.state.codec.decode_key(key)[0])

    def _refer(self, references: References, target: Part, key: bytes, value: bytes, task: int) -> frozenset[Rule]:
        other, partition = references.key(key), references.partition(value)
        return self._explaining(self.target_rules, other, references.suffix, partition, target.old, task)

    def _explaining(
        self, rules: frozenset[Rule], key: bytes, suffix: int, at: int, partitions: int, task: int | None = None
    ) -> frozenset[Rule]:
        left = frozenset(rule for rule in rules if placed(rule, key, suffix, partitions) == at)
        if left:
            return left
        of = f"task {self.part.id}_{at if task is None else task}"
        found = ", ".join(f"{rule.partitioner} {placed(rule, key, suffix, partitions)}" for rule in sorted(rules))
        raise ConfigError(
            f"store {self.name!r} cannot be moved: {of} has the key {key!r}, which belongs to partition {at} of "
            f"{partitions}, and the keys before it say that it would be in another one ({found}). Either the producers "
            "of the input choose partitions in a way of their own, or the step keeps state under other keys than those "
            "of its records. Put .repartition() before the step, and process the inputs again"
        )

    def merged_books(self, number: int) -> dict[bytes, bytes]:
        """Return the entries of a new task itself, from those of its predecessors."""
        codec, found = self.state.codec, dict[bytes, bytes]()
        tally = self.placement.tally
        for key, by_task in self.books.items():
            mine = [by_task[task] for task in predecessors(number, self.part.old, self.part.new) if task in by_task]
            if not mine:
                continue
            slot = codec.decode_key(key)
            counting = tally is not None and slot == tally.slot
            if len(mine) == 1 and not counting:
                found[key] = mine[0]
                continue
            entries = [codec.decode_value(unframe(raw)) for raw in mine]
            if tally is not None and counting:
                entries = list(map(tally.zero, entries))
            found[key] = mine[0][:1] + codec.encode_value(self.placement.merged(slot, entries))
        return found

    def overdue(self) -> str:
        """Return why some tasks cannot become one; "" if they can.

        One of them has results to send for windows that are closed at the time of another.
        """
        unsent, codec = self.placement.unsent, self.state.codec
        if unsent is None:
            return ""
        raw = self.books.get(codec.encode_key(STREAM_TIME_KEY), {})
        clocks = {task: codec.decode_value(unframe(one))[0] for task, one in raw.items()}
        for number in range(self.part.new):
            mine = [task for task in predecessors(number, self.part.old, self.part.new) if task in clocks]
            latest = max(mine, key=clocks.__getitem__, default=0)
            for task in mine:
                slots = [(start, None) for start in self._starts.get(task, ())]
                if any(unsent(slot, clocks[task]) and not unsent(slot, clocks[latest]) for slot in slots):
                    return (
                        f"store {self.name!r}: the tasks {self.part.id}_{task} and {self.part.id}_{latest} would "
                        f"become one, but their stream times are {clocks[task]} and {clocks[latest]}, and the first "
                        "has results to send of windows that the second has closed. Choose a multiple of "
                        f"{self.part.old}, so that no tasks become one; or start the application, let it process newer "
                        "records in all partitions, and stop it again"
                    )
        return ""


def content_of(placement: Placement, key: bytes, value: bytes) -> tuple[bytes, bytes]:
    """Return the parts of an entry that stay the same when it moves."""
    if placement.numbered:
        return b"", value
    references = placement.references
    return key, value if references is None else references.moved(value, 0)


@dataclass(frozen=True)
class ChosenRules:
    """How keys are placed in one sub-topology."""

    partitioner: str
    certain: bool
    """False if the keys that state has do not tell."""
    stores: Mapping[str, Rule]
    targets: Mapping[str, Rule]
    """For stores that name partitions of another sub-topology, the rule there."""


def chosen(part: Part, surveys: Sequence[StoreSurvey], preferred: str = MURMUR2) -> ChosenRules:
    """Choose among the rules that explain all keys; prefer a partitioner. Raises ConfigError."""
    names = set(part.partitioners)
    for survey in surveys:
        names &= {rule.partitioner for rule in survey.rules}
    if not names:
        raise ConfigError(
            f"the stores {', '.join(repr(survey.name) for survey in surveys)} have keys that are placed in different "
            "ways, so the new places are not known: process the inputs again, after `tidemill reset`"
        )
    name = preferred if preferred in names else min(names)
    stores = {one.name: _one(one.name, one.part, one.rules, one.digest.entries, name) for one in surveys}
    targets = {
        one.name: _one(one.name, one.target, one.target_rules, one.digest.entries, None)
        for one in surveys
        if one.target is not None and one.placement.references is not None
    }
    return ChosenRules(name, len(names) == 1, stores, targets)


def _one(store: str, part: Part, rules: frozenset[Rule], entries: int, name: str | None) -> Rule:
    """Return the rule of one store."""
    left = sorted(rule for rule in rules if name is None or rule.partitioner == name)
    if name is None:
        wanted = MURMUR2 if any(rule.partitioner == MURMUR2 for rule in left) else left[0].partitioner
        left = [rule for rule in left if rule.partitioner == wanted]
    if len(left) == 1 or not entries:
        return left[-1]
    if part.windowed_inputs:
        raise ConfigError(
            f"store {store!r} cannot be moved: its keys are windows, and the {entries} that it has do not tell whether "
            "the window counts for the partition. Process the inputs again with the new number, after `tidemill reset`"
        )
    return next(rule for rule in left if rule.trimmed)

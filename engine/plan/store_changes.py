"""What becomes of the state when a program is replaced by another version of it. Pure.

    the store in the new version ...                                              is
    is in the old one, and holds the same                                         kept
    is in the old one under a former name (`was=`), and holds the same            renamed
    is in the old one, and holds something else                                   incompatible: the start is refused
    was renamed in the old one, and the new one does not know the former name     incompatible: its topics have it
    is in the old one under no name                                               new: it begins empty

A store of the old version that none of the new one takes is dropped. Repartition topics are compared in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ...operators.graph.topology import Repartition, Topology

__all__ = ["StoreChange", "StoreFacts", "VersionFacts", "compare", "facts_of", "verdict"]

Status = Literal["kept", "renamed", "new", "dropped", "incompatible"]


@dataclass(frozen=True)
class StoreFacts:
    """A store of a version."""

    shape: str = ""
    """What it holds, in the words of `operators/stores/schema.py`; "" if that is not known."""
    was: tuple[str, ...] = ()


@dataclass(frozen=True)
class VersionFacts:
    """What is known of a version."""

    stores: Mapping[str, StoreFacts]
    repartitions: Mapping[str, tuple[str, ...]] | None = None
    """Repartitions with their former names; None if it is not known which there are."""
    spared: Mapping[str, str] = field(default_factory=dict[str, str])
    """Stores that steps do not need, by their names, with the stores in which the steps find these rows."""


@dataclass(frozen=True)
class StoreChange:
    """What becomes of a store or a repartition topic."""

    what: Literal["store", "repartition"]
    name: str
    """The name in the new version, or the old one of what is dropped."""
    status: Status
    former: str = ""
    """The name in the old version, if it is another one."""
    why: str = ""
    loses: bool = False
    """Whether the new version is without something that the old one has."""


def facts_of(topology: Topology) -> VersionFacts:
    """Return the facts of a program."""
    stores = {
        state.spec.name: StoreFacts(state.shape, state.spec.was) for node in topology.nodes for state in node.stores
    }
    repartitions = {node.name: node.was for node in topology.nodes if isinstance(node, Repartition)}
    spared = {name: node.reads[0] for node in topology.nodes for name in node.spared}
    return VersionFacts(stores, repartitions, spared)


def compare(old: VersionFacts, new: VersionFacts) -> list[StoreChange]:
    """Return what becomes of each store and each repartition topic."""
    changes: list[StoreChange] = []
    taken: set[str] = set()
    for name, facts in new.stores.items():
        former = next((known for known in (name, *facts.was) if known in old.stores), None)
        if former is None:
            changes.append(_new(name, old.spared.get(name)))
            continue
        taken.add(former)
        changes.append(_store(name, former, old.stores[former], facts))
    changes += [_dropped(name, new.spared.get(name)) for name in old.stores if name not in taken]
    if old.repartitions is not None and new.repartitions is not None:
        changes += _repartitions(old.repartitions, new.repartitions)
    return changes


def _new(name: str, read: str | None) -> StoreChange:
    """Return the change of a store that is new; its step may have read its rows in another one."""
    if read is None:
        return StoreChange("store", name, "new", why="it begins empty")
    why = f"it begins empty: its step has read the rows in {read!r}, and gets those that change from now on"
    return StoreChange("store", name, "new", why=why, loses=True)


def _dropped(name: str, read: str | None) -> StoreChange:
    """Return the change of a store that is dropped; its step may read its rows in another one."""
    if read is None:
        return StoreChange("store", name, "dropped", why="its state is given up", loses=True)
    return StoreChange("store", name, "dropped", why=f"its step reads the rows in {read!r}")


def _store(name: str, former: str, before: StoreFacts, now: StoreFacts) -> StoreChange:
    other = "" if former == name else former
    if before.shape and now.shape and before.shape != now.shape:
        why = f"it holds {before.shape!r} and would hold {now.shape!r}: give the step another name, or reset"
        return StoreChange("store", name, "incompatible", other, why)
    forgotten = [known for known in before.was if known not in (name, *now.was)]
    if forgotten:
        why = f"its topics may have a name of {', '.join(map(repr, forgotten))}, which was= has to keep"
        return StoreChange("store", name, "incompatible", other, why)
    return StoreChange("store", name, "renamed" if other else "kept", other)


def _repartitions(old: Mapping[str, tuple[str, ...]], new: Mapping[str, tuple[str, ...]]) -> list[StoreChange]:
    changes: list[StoreChange] = []
    taken: set[str] = set()
    for name, was in new.items():
        former = next((known for known in (name, *was) if known in old), None)
        if former is None:
            changes.append(StoreChange("repartition", name, "new"))
        else:
            taken.add(former)
            other = "" if former == name else former
            changes.append(StoreChange("repartition", name, "renamed" if other else "kept", other))
    why = "records in it that are not processed yet are lost"
    return changes + [
        StoreChange("repartition", name, "dropped", why=why, loses=True) for name in old if name not in taken
    ]


def verdict(changes: list[StoreChange]) -> int:
    """Return 0 if all state stays, 1 if some is lost, 2 if the start would be refused."""
    refused = any(change.status == "incompatible" for change in changes)
    return 2 if refused else int(any(change.loses for change in changes))

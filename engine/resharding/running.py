"""The state of an application that runs, for a successor with another number of partitions.

The successor processes what the application processes, without effects, until it takes its place. So each task of the
successor must be where the task was whose keys it has: the time of a task is that of its own records, and a successor
with fewer of them is behind. That makes no difference where each result is caused by a record; where results are caused
by time, one of before the switch may be due after it, and would be sent twice. Watermarks are those of the tasks that
write the repartition topic, which stay as they are, so they are the same for any number.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..clock import SYSTEM
from ..errors import ConfigError
from ..savepoints.creation import SavepointCreation
from ..snapshots.pins import names_of, savepoint_of
from .parts import Part
from .preparation import ReshardRequest, ReshardWork, prepared, with_the_number
from .rules import splits

__all__ = ["moved_while_running", "refused_while_running"]

SAVEPOINT_MS = 600_000
"""How long to try to make a savepoint."""


def refused_while_running(parts: Sequence[Part]) -> list[str]:
    """Return why the numbers of tasks cannot change while it runs; nothing if they can."""
    stop = "Stop the application, and call the command without --online"
    found = [
        f"sub-topology {part.id} reads {' and '.join(map(repr, part.sources))} and keeps state by key: records "
        "that were written before partitions were added are in other partitions than the state that they need. "
        f"{stop}"
        for part in parts
        if part.moves and part.stores and part.sources
    ]
    found += [
        f"sub-topology {part.id} has {part.old} tasks, and {part.new} is not a multiple of that: tasks that are at "
        f"different times would become one. Choose a multiple. Or: {stop[0].lower()}{stop[1:]}"
        for part in parts
        if part.moves and part.stores and not splits(part.old, part.new)
    ]
    found += [
        f"step {node.name!r} ({node.kind}) sends results when time passes, and the time of {part.new} tasks is another "
        f"one than that of {part.old}: a result could be sent twice, or never. {stop}"
        for part in parts
        if part.moves
        for node in part.now.nodes
        if node.sends_by == "clock" or (node.sends_by == "time" and node.watermark is None)
    ]
    return found


def moved_while_running(request: ReshardRequest, name: str, base: str | None) -> ReshardWork:
    """Return the work with a savepoint `name` that has the new number of partitions.

    It is made of the savepoint `base`, or of one that is made for it, if a command before has made neither. Raises
    ConfigError if the state cannot be moved, Fatal or StorageError.
    """
    app_id, storage = request.app_id, request.storage
    known = names_of(storage, app_id)
    if name in known:
        found = with_the_number(request, savepoint_of(storage, app_id, name))
        if found is None:
            raise ConfigError(
                f"{app_id} has a savepoint {name!r} with other numbers of partitions: choose another --as"
            )
        request.say(f"going on with savepoint {name}, which is there already")
        return found
    before = base or f"{name}-before"
    if base is not None or before in known:
        one = savepoint_of(storage, app_id, before)
        request.say(f"taking savepoint {before}, which is there already")
    else:
        creation = SavepointCreation(
            storage,
            app_id,
            before,
            request.groups,
            request.topics,
            request.reader(),
            request.scratch / "savepoint",
            SYSTEM,
            request.say,
        )
        one = creation.run(SAVEPOINT_MS)
    try:
        return prepared(request, one, storage).moved(name)
    except ConfigError as failure:
        raise ConfigError(
            f"{failure}\nThis is about the state at savepoint {before}: to try again with that of a later moment, "
            f"delete it with `tidemill savepoint delete {app_id} {before}`"
        ) from failure

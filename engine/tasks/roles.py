"""The role of an application beside another one, in the metadata of committed offsets.

`b=` says which it is. It is the same for all inputs of a group, and each commit repeats it. An application without it
is active.

    shadow ──▶ arriving ──▶ promoted       of the new version
    active ──▶ leaving ──▶ retired         of the old version

A fork commits `shadow` with the first offsets. During a cut-over each task commits that it is `arriving` or `leaving`,
with the attempt: it stands still, and so does each task that is opened from such an offset. One transaction changes the
roles of both groups then, forwards or back. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Final, NamedTuple

from .topic_ids import fields, fields_text

__all__ = ["ACTIVE", "CurrentRole", "Role", "role_in", "role_of", "why_retired", "why_standing", "with_role"]

SHADOW: Final = "shadow"
ARRIVING: Final = "arriving"
LEAVING: Final = "leaving"
PROMOTED: Final = "promoted"
RETIRED: Final = "retired"
KINDS: Final = (SHADOW, ARRIVING, LEAVING, PROMOTED, RETIRED)


class Role(NamedTuple):
    """Whether an application writes to its output topics, is a shadow, or stands still."""

    other: str = ""
    """The application whose shadow it is or was, or which takes its place; "" for one that is active."""
    savepoint: str = ""
    """The savepoint of the other one from which it was forked."""
    kind: str = SHADOW
    stamp: str = ""
    """The attempt of a cut-over, or when it was done, in ms."""

    @property
    def shadow(self) -> bool:
        """Whether it writes to shadow topics."""
        return bool(self.other) and self.kind in (SHADOW, ARRIVING)

    @property
    def standing(self) -> bool:
        """Whether it stands still until a cut-over is done or undone."""
        return bool(self.other) and self.kind in (ARRIVING, LEAVING)

    @property
    def retired(self) -> bool:
        """Whether another application has taken its place."""
        return bool(self.other) and self.kind == RETIRED

    @property
    def promoted(self) -> bool:
        """Whether it has taken the place of another application."""
        return bool(self.other) and self.kind == PROMOTED

    @property
    def metadata(self) -> str:
        """The part of an offset's metadata."""
        if not self.other:
            return ""
        return f";b={self.kind},{self.other},{self.savepoint}" + (f",{self.stamp}" if self.stamp else "")

    @property
    def in_words(self) -> str:
        """What a process of the application does."""
        if self.promoted:
            return f"has taken the place of {self.other}, and writes to the output topics"
        return f"is the shadow of {self.other}" if self.shadow else "goes on as before"

    def stands(self, other: str, attempt: str) -> Role:
        """Return the role in which it stands still, in a cut-over to or from another application."""
        return Role(other, self.savepoint, ARRIVING if self.shadow else LEAVING, attempt)

    @property
    def done(self) -> str:
        """The kind of role after the cut-over."""
        return PROMOTED if self.kind == ARRIVING else RETIRED

    def switched(self, at: int) -> Role:
        """Return the role after the cut-over at a time."""
        return self._replace(kind=self.done, stamp=str(at))

    def undone(self) -> Role:
        """Return the role if the cut-over is given up."""
        return self._replace(kind=SHADOW, stamp="") if self.kind == ARRIVING else ACTIVE


ACTIVE = Role()


class CurrentRole:
    """The role of a process, which all its tasks have."""

    def __init__(self, role: Role = ACTIVE) -> None:
        self.now = role


def role_in(metadata: str) -> Role:
    """Return the role in the metadata of an offset."""
    kind, *parts = fields(metadata).get("b", "").split(",")
    if kind not in KINDS or not 2 <= len(parts) <= 3:
        return ACTIVE
    return Role(parts[0], parts[1], kind, *parts[2:])


def role_of(committed: Iterable[str]) -> Role:
    """Return the role of an application by the metadata of its committed offsets.

    If some say that it stands still, it does.
    """
    found = [role for role in map(role_in, committed) if role.other]
    return next((role for role in found if role.standing), found[0] if found else ACTIVE)


def with_role(metadata: str, role: Role) -> str:
    """Return metadata with another role."""
    known = {name: text for name, text in fields(metadata).items() if name != "b"}
    return fields_text(known) + role.metadata


def why_standing(app_id: str, role: Role) -> str:
    """Return what a process says that waits for the end of a cut-over."""
    old, new = (role.other, app_id) if role.shadow else (app_id, role.other)
    return (
        f"a cut-over from {old} to {new} is under way, and both stand still. If its command was interrupted, call "
        f"`tidemill cutover {old} {new}` again, which finishes it, or with --undo, which gives it up"
    )


def why_retired(app_id: str, role: Role) -> str:
    """Return what a process of an application says that another one has replaced."""
    when = datetime.fromtimestamp(int(role.stamp or 0) / 1000, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    return (
        f"{role.other} has taken the place of {app_id}: `tidemill cutover` has handed the inputs over at {when}, and "
        f"{role.other} writes to the output topics from there on. To go back, stop {role.other} and set {app_id} back "
        f"to a savepoint with `tidemill savepoint restore`: what was processed since is written again. `tidemill reset "
        f"{app_id}` removes it"
    )

"""Answers of the group's coordinator that trying again would not change, in words that say what to change."""

from __future__ import annotations

from ..errors import ConfigError, Fatal, TidemillError
from ..kafka.protocol import Code, name_of
from .events import MembershipSettings

__all__ = ["refusal"]


def refusal(code: int, group: str, doing: str, settings: MembershipSettings) -> TidemillError:
    """The error for an error code."""
    head = (
        f"this process cannot {doing} of application {group!r}"
        if doing.startswith("get")
        else (f"this process cannot {doing} {group!r}")
    )
    if code == Code.INVALID_SESSION_TIMEOUT:
        return ConfigError(
            f"{head}: the broker does not allow session_timeout={settings.session_timeout} ms; choose one between its "
            "group.min.session.timeout.ms and group.max.session.timeout.ms"
        )
    if code == Code.FENCED_INSTANCE:
        return Fatal(
            f"{head}: another process has taken over the instance id {settings.instance_id!r}. Give every process its "
            "own instance_id"
        )
    if code == Code.INCONSISTENT_PROTOCOL:
        return Fatal(
            f"{head}: the group {group!r} is in use by consumers of another kind. Stop them, or choose another "
            "application id"
        )
    if code == Code.GROUP_FULL:
        return Fatal(f"{head}: the group has as many members as the broker allows (group.max.size)")
    if code == Code.GROUP_AUTHORIZATION:
        return Fatal(f"{head}: this user may not READ the group. Grant it READ on group {group!r}")
    return Fatal(f"{head}: {name_of(code)}")

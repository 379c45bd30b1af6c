"""Permanent errors of the group's coordinator, with messages that say what to change."""

from __future__ import annotations

from ..errors import ConfigError, Fatal, TidemillError
from ..kafka.protocol import ErrorCode, error_name
from .events import MembershipSettings

__all__ = ["group_error"]


def group_error(code: int, group: str, doing: str, settings: MembershipSettings) -> TidemillError:
    """Make the error for an error code."""
    head = (
        f"this process cannot {doing} of application {group!r}"
        if doing.startswith("get")
        else (f"this process cannot {doing} {group!r}")
    )
    if code == ErrorCode.INVALID_SESSION_TIMEOUT:
        return ConfigError(
            f"{head}: the broker does not allow session_timeout={settings.session_timeout} ms; choose one between its "
            "group.min.session.timeout.ms and group.max.session.timeout.ms"
        )
    if code == ErrorCode.FENCED_INSTANCE:
        return Fatal(
            f"{head}: another process has taken over the instance id {settings.instance_id!r}. Give every process its "
            "own instance_id"
        )
    if code == ErrorCode.INCONSISTENT_PROTOCOL:
        return Fatal(
            f"{head}: the group {group!r} is in use by other consumers, not by Tidemill. Stop them, or choose another "
            "application id"
        )
    if code == ErrorCode.GROUP_FULL:
        return Fatal(f"{head}: the group has as many members as the broker allows (group.max.size)")
    if code == ErrorCode.GROUP_AUTHORIZATION:
        return Fatal(f"{head}: this user may not READ the group. Grant it READ on group {group!r}")
    return Fatal(f"{head}: {error_name(code)}")

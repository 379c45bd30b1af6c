"""Partial states: what a fold needs of several values.

They are made before a repartition topic and taken up behind it.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TAKE_UP", "Combining"]

TAKE_UP = """\
if value.__class__ is Partial:
    <open>
    <others>, = value.slots
    <take_up>
    <show>
else:
    <add>
"""
"""A value or a partial state is added to an entry."""


@dataclass(frozen=True)
class Combining:
    """How several values become a partial state, and how that is taken up.

    Its slots have the same names. The result is exactly that of the values one by one.
    """

    read: tuple[str, ...]
    """Statements that get from `value` what is needed; they fail if it cannot be combined for certain."""
    collect: tuple[str, ...]
    """Statements that add it to the slots of the partial state, and cannot fail."""
    merge: tuple[str, ...]
    """Statements that change the slots by those of the partial state, `o0`, `o1` ..."""

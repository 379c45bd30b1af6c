"""The nearest right name to a wrong one, for messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean", "nearest"]


def nearest(wrong: str, right: Iterable[str]) -> str | None:
    """The most similar of the right names, or None when none is similar."""
    by_form = {plain(name): name for name in right}
    found = difflib.get_close_matches(plain(wrong), by_form, n=1, cutoff=0.6)
    return by_form[found[0]] if found else None


def did_you_mean(wrong: str, right: Iterable[str], *, listing: bool = True) -> str:
    """The end of a sentence: "; did you mean 'x'?", or, with `listing`, all right names when none is near."""
    names = list(right)
    found = nearest(wrong, names)
    if found is not None:
        return f"; did you mean {found!r}?"
    return f"; there are: {', '.join(sorted(names))}" if names and listing else ""


def plain(name: str) -> str:
    """`name` without the differences people do not see as differences: case, dashes, dots, underscores."""
    return name.lower().replace("-", "_").replace(".", "_")

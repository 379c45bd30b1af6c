"""The most similar valid name for a wrong one, for messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean", "nearest"]


def nearest(wrong: str, right: Iterable[str]) -> str | None:
    """Return the most similar valid name, or None if none is similar."""
    by_form = {normalized(name): name for name in right}
    found = difflib.get_close_matches(normalized(wrong), by_form, n=1, cutoff=0.6)
    return by_form[found[0]] if found else None


def did_you_mean(wrong: str, right: Iterable[str], *, listing: bool = True) -> str:
    """Return the end of a sentence: "; did you mean 'x'?" or, with `listing`, all valid names."""
    names = list(right)
    found = nearest(wrong, names)
    if found is not None:
        return f"; did you mean {found!r}?"
    return f"; there are: {', '.join(sorted(names))}" if names and listing else ""


def normalized(name: str) -> str:
    """Return `name` without differences in case, dashes, dots and underscores."""
    return name.lower().replace("-", "_").replace(".", "_")

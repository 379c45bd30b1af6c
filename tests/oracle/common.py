"""Sources and functions shared by the programs of recorded cases."""

from __future__ import annotations

import json
from typing import Any, Final

import tidemill as tm

Params = dict[str, Any]
Source = tm.Stream[str, Any]

AGG: Final = "agg"


def source(app: tm.Builder, topic: str, **options: Any) -> Source:
    return app.stream(topic, key=tm.utf8, value=tm.json, **options)


def table(app: tm.Builder, topic: str, **options: Any) -> tm.Table[str, Any]:
    return app.table(topic, key=tm.utf8, value=tm.json, **options)


def text(value: Any) -> str:
    """A value as the recorder's functions turn it into text."""
    return "-" if value is None else value if isinstance(value, str) else json.dumps(value)


def both(left: Any, right: Any) -> str:
    """Two values joined, as the recorder does it."""
    return f"{text(left)}+{text(right)}"

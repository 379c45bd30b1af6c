"""A program whose second and third version keep counts in other forms."""

import os
from typing import Any

import tidemill as tm

topics = os.environ["TOPICS"]
version = int(os.environ["VERSION"])

app = tm.App("migrated")


def nested(old: dict[str, int]) -> dict[str, Any]:
    return {"seen": {"count": old["n"]}}


def flat(old: dict[str, Any]) -> dict[str, int]:
    return {"count": old["seen"]["count"], "migrated": 1}


def first(so_far: dict[str, Any], value: str) -> dict[str, Any]:
    return {"n": so_far.get("n", 0) + 1}


def second(so_far: dict[str, Any], value: str) -> dict[str, Any]:
    return {"seen": {"count": so_far.get("seen", {"count": 0})["count"] + 1}}


def third(so_far: dict[str, Any], value: str) -> dict[str, Any]:
    return {**so_far, "count": so_far.get("count", 0) + 1}


def shown(row: dict[str, Any]) -> int:
    return row["n"] if version == 1 else row["seen"]["count"] if version == 2 else row["count"]


data = app.stream(f"{topics}-data", key=tm.utf8, value=tm.utf8)
counts = data.group_by_key().aggregate(dict, [first, second, third][version - 1])
counts = counts.named("counts", migrate=[nested, flat][: version - 1])
counts.map(shown).to(f"{topics}-counts", key=tm.utf8, value=tm.int64)

if __name__ == "__main__":
    app.main()

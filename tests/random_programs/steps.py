"""The steps of random programs, as source text that uses the public API."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

__all__ = ["source", "stateful", "step"]

Step = tuple[str, str]
"""The kind of the result ("stream", "table", "windowed", "global") and the text."""

COLUMNS = ["n", "items", "get", "values", "least", "most", "first", "last", "all", "top", "mean", "function"]
COLUMNS += ["ruined", "grown", "whole"]


def source(random: Random, topic: str, key: str, kind: str, *, marked: bool) -> Step:
    """The text of an input."""
    serdes = f'"{topic}", key={key}, value=tm.json'
    what = "table" if kind == "tables" else random.choice(["stream"] * 6 + ["table"] * 2 + ["history", "global"])
    if topic == "a" and what == "global":
        what = "stream"
    match what:
        case "table":
            return "table", f"app.table({serdes})"
        case "history":
            return "history", f"app.table({serdes}, history={random.choice([5, 30, 1000])})"
        case "global":
            return "global", f"app.global_table({serdes})"
        case _:
            time = random.choice(["", "", "", ", timestamp=number", ", timestamp=tm.from_record(moment)"])
            time += random.choice(["", "", ', on_invalid="partition_time"']) if time else ""
            bound = random.choice([0, 3, 33])
            more = random.choice(["", ", idle=500"]) + random.choice(["", "", "", ', max_ahead="1h"'])
            return "stream", f"app.stream({serdes}{f', watermark=tm.bounded({bound}{more})' if marked else time})"


def stateful(text: str) -> bool:
    """Whether a step has a name worth giving."""
    words = ("count(", "reduce(", "aggregate(", "join(", "process(", "deduplicate(", "to_table(", "suppress(", "async(")
    return any(word in text.replace("tm.count(", "") for word in words) or "map_batch(" in text


def step(random: Random, pool: dict[str, str], key: str, kind: str) -> Step | None:
    """One more step on something in the pool."""
    name = random.choice([name for name, of in pool.items() if of != "global"] or ["s0"])
    others = {of: [one for one, its in pool.items() if its == of] for of in set(pool.values())}
    of = pool[name]
    if of == "stream":
        return random.choice(STREAM)(random, name, others, key)
    if of == "windowed":
        return random.choice(WINDOWED)(random, name, others, key)
    if kind == "tables":
        others = {"table": [one for one in pool if one != name] or [name]}
        made = random.choice(UNORDERED if of == "table" else UNORDERED_RESULTS)(random, name, others, key)
        return made and ("table" if of == "table" and is_of_rows(made[1]) else "result", made[1])
    return random.choice(TABLE)(random, name, others, key)


def is_of_rows(text: str) -> bool:
    return "join(" not in text and "group_by(" not in text


Others = dict[str, list[str]]
Make = Callable[[Random, str, Others, str], "Step | None"]


def simple(random: Random, s: str, _others: Others, key: str) -> Step:
    return "stream", s + random.choice(
        [
            ".filter(odd)",
            ".filter(small)",
            ".filter(good)",
            ".filter(ruining)",
            ".map(row)",
            ".map(row)",
            ".map(grown)",
            ".map(plain)",
            ".peek(ruin)",
            ".flat_map(several)",
            ".map_record(later)",
            ".map_record(earlier)",
            ".with_timestamp(number)",
            ".with_timestamp(tm.from_record(moment))",
            ".repartition()",
            f".with_key({by(key)}, key={key})",
        ]
    )


def by(key: str) -> str:
    """A function that gives keys, most of which its serde takes."""
    return {"tm.utf8": "text", "tm.json": "mixed", "tm.int64": "plain", "tm.float64": "plain"}[key]


def waiting(random: Random, s: str, _others: Others, _key: str) -> Step:
    wait = random.choice(["", ", max_wait=50"])
    return "stream", s + random.choice(
        [
            f".map_batch(total, max_size={random.choice([1, 3])}{wait})",
            f".map_async(called, in_flight={random.choice([1, 2, 5])})",
        ]
    )


def merging(random: Random, s: str, others: Others, _key: str) -> Step:
    return "stream", f"{s}.merge({random.choice(others['stream'])})"


def splitting(random: Random, s: str, _others: Others, _key: str) -> Step:
    return "stream", f'{s}.split(odd=odd, small=small, default="rest")["{random.choice(["odd", "small", "rest"])}"]'


def remembering(random: Random, s: str, _others: Others, _key: str) -> Step:
    processors = ["Keeping", "Forgetting", "Timing", "Recurring"]
    side = random.random() < 0.1
    if side:
        return "stream", f'{s}.process(Keeping).side("old")'
    more = [f".deduplicate({random.choice([1, 7])}{random.choice(['', ', by=odd', ', by=plain'])})"]
    return "stream", s + random.choice([*(f".process({one})" for one in processors), *more])


def grouped(random: Random, s: str, key: str) -> str:
    return s + random.choice([".group_by_key()", f".group_by({by(key)}, key={key})"])


def fold(random: Random, *, merge: bool = False) -> str:
    chosen = " ".join(sorted(random.sample(COLUMNS, random.randint(1, 5))))
    return random.choice(
        [
            ".count()",
            ".reduce(added)",
            f".aggregate(list, appended{', merge=merged' if merge else ''})",
            f'.aggregate(**columns("{chosen}"))',
        ]
    )


def folding(random: Random, s: str, _others: Others, key: str) -> Step:
    return "table", grouped(random, s, key) + fold(random)


def windowing(random: Random, s: str, _others: Others, key: str) -> Step:
    grace = random.choice(["", ", grace=5", ", grace=0"])
    kinds = [f"tm.tumbling(10{grace})", f"tm.hopping(10, every=4{grace})", f"tm.sliding(6{grace})"]
    kinds += [f"tm.session(gap=4{grace})", 'tm.calendar("hour", tz="America/New_York")']
    window = random.choice(kinds)
    emit = random.choice(["", "", '.emit("update")', '.emit("close")', '.emit("close")', ".emit(tm.every(20))"])
    late = random.choice(["", "", f'.late(to="late-{s}")'])
    folded = fold(random, merge="session" in window)
    final = '.named("w{s}").suppress(until="close")' if "close" not in emit and random.random() < 0.15 else ""
    return "windowed", f"{grouped(random, s, key)}.window({window}){emit}{late}{folded}{final.replace('{s}', s)}"


def cogrouping(random: Random, s: str, others: Others, key: str) -> Step:
    other = random.choice(others["stream"])
    both = f"{grouped(random, s, key)}.cogroup(appended, ({grouped(random, other, key)}, appended))"
    if random.random() < 0.5:
        return "table", f"{both}.aggregate(list)"
    return (
        "windowed",
        f"{both}.window(tm.{random.choice(['tumbling(10, grace=5)', 'hopping(10, every=4)'])}).aggregate(list)",
    )


def pairing(random: Random) -> str:
    return random.choice(["paired", "paired", "both"])


def joining(random: Random, s: str, others: Others, key: str) -> Step | None:
    choices: list[str] = []
    how = random.choice(["inner", "left", "outer"])
    within = random.choice(["0", "3", "10", "(3, 9)", "(4, 0)", "(0, 4)"])
    other = random.choice(others["stream"])
    grace = random.choice([0, 0, 4, 30])
    choices.append(f'{s}.join({other}, {pairing(random)}, within={within}, grace={grace}, how="{how}")')
    kind = random.choice(["inner", "left"])
    choices += [f'{s}.join({table}, {pairing(random)}, how="{kind}")' for table in others.get("table", [])]
    for table in others.get("history", []):
        graced = f", grace={random.choice([4, 10])}" if random.random() < 0.5 else ""
        choices.append(f'{s}.join({table}, {pairing(random)}, as_of=True, how="{kind}"{graced})')
    for table in others.get("global", []):
        on = random.choice(["", f", on={by(key)}"])
        choices += [f'{s}.join({table}, {pairing(random)}, how="{kind}"{on})'] * 3
    return "stream", random.choice(choices)


def to_table(random: Random, s: str, _others: Others, _key: str) -> Step:
    history = random.choice([None, None, 10, 30])
    return ("table", f"{s}.to_table()") if history is None else ("history", f"{s}.to_table(history={history})")


STREAM: list[Make] = [simple, simple, simple, waiting, merging, splitting, remembering, remembering]
STREAM += [folding, folding, windowing, windowing, windowing, cogrouping, joining, joining, to_table]


def of_rows(random: Random, t: str, _others: Others, _key: str) -> Step:
    return "table", t + random.choice(
        [".filter(odd)", ".filter(small)", ".filter(good)", ".map(row)", ".map(plain)", ".map(grown)"]
    )


def sums_of_rows(random: Random, t: str, _others: Others, key: str) -> Step:
    """As above, where the order in which rows come does not show."""
    folds = [".count()", ".reduce(summed, unsummed)", ".aggregate(0, summed, unsummed)"]
    return "table", f"{t}.group_by({by(key)}, of=plain, key={key}){random.choice(folds)}"


def rows_in_groups(random: Random, t: str, _others: Others, key: str) -> Step:
    of = random.choice(["", ", of=plain"])
    folds = [".count()", ".reduce(summed, unsummed)", ".aggregate(0, summed, unsummed)"]
    folds += ['.aggregate(n=tm.count(), get=tm.count("get"), values=tm.sum("x"))']
    return "table", f"{t}.group_by({by(key)}{of}, key={key}){random.choice(folds)}"


def tables_joined(random: Random, t: str, others: Others, key: str) -> Step:
    other = random.choice(others.get("table", [t]) + others.get("history", []))
    how = random.choice(["join", "left_join", "outer_join"])
    if how != "outer_join" and random.random() < 0.4:
        on = by(key).replace("mixed", "scalar")
        return "table", f"{t}.{how}({other}, {pairing(random)}, on={on})"
    return "table", f"{t}.{how}({other}, {pairing(random)})"


def suppressing(random: Random, t: str, _others: Others, _key: str) -> Step:
    most = random.choice(["", ", max_records=2"])
    return "table", f"{t}.suppress(until={random.choice([0, 7, 20])}{most})"


def to_stream(_random: Random, t: str, _others: Others, _key: str) -> Step:
    return "stream", f"{t}.to_stream()"


UNORDERED: list[Make] = [of_rows, of_rows, sums_of_rows, tables_joined, tables_joined]
UNORDERED_RESULTS: list[Make] = [of_rows, of_rows, tables_joined]
"""No groups: one that was there only in between stays, empty, and what was in between depends on the order."""
TABLE: list[Make] = [of_rows, of_rows, rows_in_groups, tables_joined, tables_joined, suppressing, to_stream, to_stream]


def window_rows(random: Random, t: str, _others: Others, _key: str) -> Step:
    return "windowed", t + random.choice([".filter(odd)", ".filter(good)", ".map(row)", ".map(plain)"])


def window_stream(_random: Random, t: str, _others: Others, _key: str) -> Step:
    return "stream", f"{t}.to_stream().map_record(unwindowed)"


WINDOWED: list[Make] = [window_rows, window_stream, window_stream]

"""The reference of the public interface, docs/reference/, made of signatures and docstrings.

`python -m tests.docs.api_pages` (a part of `make reference`) writes the pages.
"""

from __future__ import annotations

import doctest
import re
from collections.abc import Iterator
from functools import cache
from typing import Final, cast

from griffe import Class, Expr, Function, Object, Parameter

from .api import Entry, entries, entries_of, overloads, parameters_of, public_names, target
from .snippets import ROOT

__all__ = ["FOLDER", "PAGES", "PREAMBLE", "index", "page", "pages"]

FOLDER: Final = ROOT / "docs" / "reference"
NOTE: Final = "<!-- Generated from the docstrings by `make reference`; do not edit. -->"
WIDTH: Final = 100

PREAMBLE: Final = """\
import tidemill as tm

app = tm.App("shop")
orders = app.stream("orders", key=tm.utf8, value=tm.json)  # {"customer": "ann", "item": "pen", "pieces": 12}
payments = app.stream("payments", key=tm.utf8, value=tm.json)  # {"amount": 4.5}
customers = app.table("customers", key=tm.utf8, value=tm.json)  # {"name": "Ann", "country": "DE"}
"""
"""What the examples in docstrings begin with."""

PAGES: Final[dict[str, tuple[str, str, list[str]]]] = {
    "app": ("Application", "the program, and where it begins", ["App", "Builder", "pattern", "Pattern", "Topology"]),
    "streams": (
        "Streams",
        "records, and steps on them",
        ["Stream", "Joined", "Processed", "Handle", "Record", "SourceRecord", "CallContext", "CircuitBreaker"],
    ),
    "groups": (
        "Groups and windows of streams",
        "count, reduce and aggregate per key, or per key and window",
        ["Grouped", "WindowedStream", "Cogrouped", "WindowedCogrouped", "Windowed"],
    ),
    "tables": (
        "Tables",
        "rows by key, their joins and groups",
        ["Table", "WindowedTable", "TableGrouped", "GlobalTable", "Version"],
    ),
    "targets": (
        "Sinks to other systems",
        "targets of `.sink()`, and the interface of your own",
        [
            *("postgres", "redis", "opensearch", "parquet", "iceberg", "delta", "history", "History"),
            *("Target", "TargetSession", "TargetTask", "TargetInput"),
            *("TargetUnavailable", "TargetFenced", "RecordsRefused"),
        ],
    ),
    "aggregators": (
        "Aggregators",
        "columns for `aggregate`",
        [
            *("count", "sum", "mean", "min", "max", "first", "last", "collect", "top", "count_distinct", "quantile"),
            "Aggregator",
        ],
    ),
    "time": (
        "Windows and time",
        "kinds of windows, event times, watermarks",
        [
            *("tumbling", "hopping", "calendar", "sliding", "session", "every", "from_record", "bounded"),
            *("TimeWindows", "CalendarWindows", "SlidingWindows", "SessionWindows", "Every", "FromRecord", "Watermark"),
        ],
    ),
    "processors": (
        "Processors",
        "steps of your own, with state and timers",
        [
            "Processor",
            "Context",
            "side",
            "Side",
            "ValueState",
            "MapState",
            "ListState",
            "WindowState",
            "VersionedState",
        ],
    ),
    "serdes": (
        "Serdes",
        "keys and values as bytes",
        [
            *("utf8", "raw", "int64", "float64", "uuid", "json", "msgpack", "auto", "Serde"),
            *("SchemaRegistry", "debezium", "debezium_key", "RowChange", "cloudevents", "CloudEvent"),
        ],
    ),
    "errors": (
        "Errors",
        "what is raised, and what happens to a record that a step cannot process",
        [
            *("fail", "skip", "ErrorPolicy", "TidemillError", "TopologyError", "ConfigError", "RecordError"),
            *("Retryable", "Fatal", "Fenced", "StateCorrupt", "StateUnusable"),
        ],
    ),
    "testing": ("Testing", "programs without a broker", ["testing.TopologyDriver", "testing.StoreReader"]),
}
"""Title, contents and names of each page."""


TYPES: Final = {
    "K, V": "the types of keys and values; R, A, K2 and V2 are those of results, accumulators and other inputs",
    "Duration": 'text with a unit, such as `"500ms"`, `"10s"`, `"1m30s"` or `"2d"`, or an int of milliseconds',
    "Within": 'a duration, or a pair of them: `("5m", "1h")` is 5 minutes before to 1 hour after',
    "Windows": "what `tm.tumbling`, `tm.hopping`, `tm.calendar`, `tm.sliding` and `tm.session` return",
    "Headers": "a tuple of pairs: a name, and bytes or None",
    "Field": "the name of a field, or a function of the value; None is the value itself",
}
"""Names of types in signatures that are no public classes."""


@cache
def pages() -> dict[str, str]:
    """The text of each file in the folder, by its name."""
    return {"README.md": index(), **{f"{name}.md": page(name) for name in PAGES}}


def index() -> str:
    """The table of contents."""
    lines = [
        "# Reference",
        "",
        NOTE,
        "",
        "Everything that `import tidemill as tm` gives. Settings are on [their own page](../settings.md).",
        "",
        "The examples begin with these lines, and are run by the tests:",
        "",
        "```python",
        PREAMBLE.rstrip(),
        "```",
    ]
    lines += ["", "| type | meaning |", "|---|---|", *(f"| `{name}` | {meaning} |" for name, meaning in TYPES.items())]
    for title, contents, members in PAGES.values():
        lines += ["", f"## {title}", "", f"{contents[0].upper()}{contents[1:]}.", "", "| | |", "|---|---|"]
        for member in members:
            entry = entries_of(member)[0]
            lines.append(f"| {link(f'tm.{member}')} | {summary(entry)} |")
    return tidy(lines)


def tidy(lines: list[str]) -> str:
    """The lines as a file, with no more than one blank line at a time."""
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def page(name: str) -> str:
    """A page: its names, each class with its methods."""
    title, _, members = PAGES[name]
    lines = [
        f"# {title}",
        "",
        NOTE,
        "",
        "[Contents](README.md), with [the lines](README.md#reference) that the examples begin with.",
    ]
    for member in members:
        first, *methods = entries_of(member)
        lines += ["", f"## `tm.{member}`", "", *body(first)]
        bases = public_bases(first.object)
        if bases:
            lines += ["", f"It has the methods of {' and '.join(bases)}."]
        if len(methods) > 2:
            links = (f"[`{it.name.rpartition('.')[2]}`](#{anchors(name)[it.name]})" for it in methods)
            lines += ["", " · ".join(links)]
        for method in methods:
            lines += ["", f"### `{method.name}`", "", *body(method)]
    return tidy(lines)


def body(entry: Entry) -> Iterator[str]:
    """Signature, text, arguments, errors and example."""
    shown = signature(entry)
    if shown:
        yield from ("```python signature", shown, "```", "")
    for section in entry.sections:
        match section.kind.value:
            case "text":
                yield from (linked(section.value), "")
            case "parameters":
                for it in section.value:
                    yield f"- `{it.name}`: {linked(one_line(it.description))}"
                yield ""
            case "returns":
                yield from (f"Returns: {' '.join(linked(one_line(it.description)) for it in section.value)}", "")
            case "raises":
                for it in section.value:
                    yield from (f"Raises `{it.annotation}`: {one_line(it.description)}", "")
            case "admonition" if section.title == "Example":
                yield from ("```python example", without_prompts(section.value.description), "```", "")
            case _:
                raise ValueError(f"{entry.name}: a section {section.title or section.kind.value!r}")


def signature(entry: Entry) -> str:
    """How it is called; empty for a value, and for a class that programs do not make."""
    name, thing = entry.name, entry.object
    if isinstance(thing, Function) and "property" not in thing.labels:
        return "\n".join(called(name, it, it.returns) for it in different(overloads(thing)) or [thing])
    if isinstance(thing, Class) and entry.documented:
        return called(f"tm.{name}", thing, None)
    return ""


def different(functions: list[Function]) -> list[Function]:
    """Overloads with parameters of different names; the types of a parameter are put together."""
    found: dict[tuple[str, ...], Function] = {}
    for function in functions:
        names = tuple(it.name for it in function.parameters)
        if names not in found:
            found[names] = function
            continue
        for name in names[1:]:
            types = (str(found[names].parameters[name].annotation), str(function.parameters[name].annotation))
            if types[0] != types[1] and not types[0].endswith(f" | {types[1]}"):
                found[names].parameters[name].annotation = " | ".join(types)
    return list(found.values())


def called(name: str, thing: Object, returns: str | Expr | None) -> str:
    """Name, parameters and result, on several lines where it is long."""
    parts: list[str] = []
    star = False
    given = parameters_of(thing)
    for place, it in enumerate(given):
        kind = it.kind.value if it.kind else ""
        if kind == "keyword-only" and not star:
            parts.append("*")
        star |= kind in ("keyword-only", "variadic positional")
        parts.append(parameter(it, kind))
        if kind == "positional-only" and (place + 1 == len(given) or kind_of(given[place + 1]) != kind):
            parts.append("/")
    result = "" if returns is None else f" -> {annotation(returns)}"
    line = f"{name}({', '.join(parts)}){result}"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"{name}(", *(f"    {part}," for part in parts), f"){result}"])


def kind_of(parameter: Parameter) -> str:
    return parameter.kind.value if parameter.kind else ""


def parameter(it: Parameter, kind: str) -> str:
    """A parameter as it is declared."""
    stars = {"variadic positional": "*", "variadic keyword": "**"}.get(kind, "")
    text = f"{stars}{it.name}"
    if it.annotation is not None:
        text += f": {annotation(it.annotation)}"
    if it.default is not None and not stars:
        text += f" = {it.default}" if it.annotation is not None else f"={it.default}"
    return text


def annotation(expression: str | Expr) -> str:
    """A type as users know it, without the module that it is taken from."""
    return re.sub(r"\b(streams|tables|groups|cogroups|windowed)\.", "", str(expression))


def public_bases(thing: Object) -> list[str]:
    """Links to the public classes that a class extends."""
    known = {target(name).path: name for name in public_names()}
    found: list[str] = []
    for base in thing.mro() if isinstance(thing, Class) else []:
        name = known.get(base.path)
        if name is not None and not any(base in cast("Class", target(other)).mro() for other in found):
            found.append(name)
    return [link(f"tm.{name}") for name in found]


def link(code: str) -> str:
    """A link to what a piece of code names, where it is on a page."""
    name = code.removeprefix("tm.")
    first, _, method = name.partition(".") if not name.startswith("testing.") else (name, "", "")
    for place, (_, _, members) in PAGES.items():
        if first in members:
            return f"[`{code}`]({place}.md#{anchors(place)[name if method else f'tm.{name}']})"
    return f"`{code}`"


def linked(text: str) -> str:
    """A text with the names in it made links."""
    return re.sub(r"`([\w.]+)`", lambda found: link(found[1]) if found[1] in linkable() else found[0], text)


@cache
def linkable() -> set[str]:
    """The names that become links."""
    return {f"tm.{name}" for name in public_names()} | {it.name for it in entries() if "." in it.name}


def one_line(text: str) -> str:
    return " ".join(text.split())


def summary(entry: Entry) -> str:
    """The first line of its docstring."""
    return entry.docstring.partition("\n")[0]


@cache
def anchors(page: str) -> dict[str, str]:
    """The anchors that GitHub gives the headings of a page; the second one that would be the same gets a number."""
    found: dict[str, str] = {}
    for member in PAGES[page][2]:
        for entry in entries_of(member):
            heading = entry.name if entry.owner is not None else f"tm.{entry.name}"
            plain = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
            again = sum(it == plain or it.startswith(f"{plain}-") for it in found.values())
            found[heading] = f"{plain}-{again}" if again else plain
    return found


def without_prompts(example: str) -> str:
    """An example as a program, with what it shows as comments."""
    lines: list[str] = []
    for part in doctest.DocTestParser().get_examples(example + "\n"):
        if lines and lines[-1].splitlines()[-1].startswith("    "):
            lines.append("")
        lines.append(part.source.rstrip())
        lines += [f"# {line}" for line in part.want.rstrip().split("\n") if line]
    return "\n".join(lines)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text)

"""The public interface as values: every name in `tidemill.__all__`, its methods, their signatures and docstrings.

Signatures and docstrings are read from the sources by griffe, so what an editor shows is what is here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

import griffe
from griffe import Alias, Attribute, Class, Function, Object, Parameter

import tidemill

from .snippets import ROOT

__all__ = [
    "CALLED_BY_THE_ENGINE",
    "Entry",
    "entries",
    "entries_of",
    "overloads",
    "parameters_of",
    "public_names",
    "target",
]

CALLED_BY_THE_ENGINE = {
    "App": {"run"},
    "Aggregator": {"every_record"},
    "CalendarWindows": {"close", "closed_before", "end", "expired_before", "longest", "newest_start", "next_close"}
    | {"next_start"},
    "Context": {"at", "move", "state_time", "offset"},
    "ListState": {"bind", "codec", "expires", "expires_by", "holding", "expire", "view"},
    "MapState": {"bind", "codec", "expires", "expires_by", "holding", "expire", "view"},
    "RecordError": {"at"},
    "SessionWindows": {"close", "found", "span"},
    "SlidingWindows": {"close", "end", "kept", "span"},
    "TimeWindows": {"close", "closed_before", "end", "expired_before", "newest_start", "next_close", "next_start"}
    | {"span", "starts", "tumbling"},
    "Topology": {"consumers", "global_tables", "has_asynchronous_calls", "node", "of", "sinks", "sources"},
    "ValueState": {"bind", "codec", "expires", "expires_by", "holding", "expire", "view"},
    "Version": {"count", "index"},
    "VersionedState": {"bind", "codec", "expires", "expires_by", "holding", "expire", "view"},
    "Watermark": {"grain"},
    "WindowState": {"bind", "codec", "expires", "expires_by", "holding", "expire", "view"},
}
"""Methods of public classes that are for the engine, and so are no part of the public interface."""


@dataclass(frozen=True)
class Entry:
    """A public class, function, method or value."""

    name: str
    """As a program writes it, without `tm.`: `Stream.filter`, `tumbling`, `testing.TopologyDriver`."""
    object: Object
    owner: Class | None = None
    """The class of a method."""

    @property
    def docstring(self) -> str:
        """Its docstring, empty where it has none."""
        return self.object.docstring.value if self.object.docstring else ""

    @property
    def sections(self) -> list[griffe.DocstringSection]:
        """The parts of its docstring."""
        return self.object.docstring.parsed if self.object.docstring else []

    @property
    def example(self) -> str:
        """What is under `Example:` in its docstring, with the prompts."""
        for section in self.sections:
            if section.title == "Example":
                return section.value.description
        return ""

    @property
    def documented(self) -> list[str]:
        """The names under `Args:` in its docstring."""
        return [it.name for section in self.sections if section.kind.value == "parameters" for it in section.value]

    @property
    def parameters(self) -> list[str]:
        """The names of its parameters; for a class those of its constructor, or its fields."""
        return [it.name for it in parameters_of(self.object)]


def parameters_of(thing: Object) -> list[Parameter]:
    """The parameters of a function or constructor, without `self`; the fields of a class without a constructor.

    Those of all overloads, where these say more.
    """
    if isinstance(thing, Class):
        made = thing.all_members.get("__init__")
        if made is None:
            return fields(thing)
        thing = cast("Object", made.final_target if isinstance(made, Alias) else made)
    if not isinstance(thing, Function):
        return []
    every = {it.name: it for function in overloads(thing) or [thing] for it in function.parameters}
    return [it for it in every.values() if it.name not in ("self", "cls")]


def fields(cls: Class) -> list[Parameter]:
    """The annotated attributes of a class and of its bases, which are the parameters of a struct or dataclass."""
    found = {}
    for parent in (*reversed(cls.mro()), cls):
        for name, member in parent.members.items():
            if isinstance(member, Attribute) and member.annotation is not None and not name.startswith("_"):
                default = None if member.value is None else str(member.value)
                kind = griffe.ParameterKind("positional or keyword")
                found[name] = Parameter(name, annotation=member.annotation, kind=kind, default=default)
    return list(found.values())


@cache
def package() -> griffe.Module:
    """The package, from its sources."""
    with tempfile.TemporaryDirectory() as folder:
        named = Path(folder) / "tidemill"
        named.mkdir()
        for part in ("__init__.py", "app.py", "testing.py", "operators", "engine"):
            (named / part).symlink_to(ROOT / part)
        loader = griffe.GriffeLoader(search_paths=[folder], docstring_parser="google")
        module = loader.load("tidemill")
        loader.resolve_aliases()
    assert isinstance(module, griffe.Module)
    return module


def public_names() -> list[str]:
    """`tidemill.__all__`, with what is in the module `testing` in place of it."""
    return [
        name
        for given in tidemill.__all__
        if given != "__version__"
        for name in ([f"testing.{it}" for it in tidemill.testing.__all__] if given == "testing" else [given])
    ]


def target(name: str) -> Object:
    """What a public name stands for."""
    found = package()[name]
    return cast("Object", found.final_target if isinstance(found, Alias) else found)


def entries() -> list[Entry]:
    """Each public name, and after a class its methods."""
    return [entry for name in public_names() for entry in entries_of(name)]


@cache
def entries_of(name: str) -> tuple[Entry, ...]:
    """A public name, and after a class its methods, with those of bases that are not public."""
    return tuple(_entries_of(name))


def _entries_of(name: str) -> Iterator[Entry]:
    thing = target(name)
    yield Entry(name, thing)
    if isinstance(thing, Class):
        public = {target(other).path for other in public_names()}
        elsewhere = {it.path for parent in thing.mro() if parent.path in public for it in (parent, *parent.mro())}
        internal = CALLED_BY_THE_ENGINE.get(name, set())
        for cls in (thing, *(parent for parent in thing.mro() if parent.path not in elsewhere)):
            for method, member in cls.members.items():
                shown = isinstance(member, Function) or (isinstance(member, Attribute) and "property" in member.labels)
                if shown and not method.startswith("_") and method not in internal:
                    own = thing.all_members[method]
                    if cls is thing or cast("Object", getattr(own, "final_target", own)) is member:
                        yield Entry(f"{name}.{method}", cast("Object", member), thing)


def overloads(thing: Object) -> list[Function]:
    """The overloads of a function whose own parameters say nothing: `*arguments, **columns`."""
    if not isinstance(thing, Function) or not thing.overloads:
        return []
    named = [it for it in thing.parameters if "var" not in str(it.kind and it.kind.value) and it.name != "self"]
    return [] if named else list(thing.overloads)

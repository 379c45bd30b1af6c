"""The docstrings of the public interface: complete, true to the signatures, with examples that run."""

from __future__ import annotations

import doctest
import inspect
from typing import Any

import pytest

import tidemill as tm

from .api import CALLED_BY_THE_ENGINE, Entry, entries, public_names
from .api_pages import PREAMBLE

ENTRIES = entries()
LONGEST_SUMMARY = 90
SAMPLES: dict[str, Any] = {
    "orders": {"customer": "ann", "item": "pen", "pieces": 12},
    "payments": {"amount": 4.5},
    "customers": {"name": "Ann", "country": "DE"},
}
"""A value for each topic of the preamble."""


def problems(entry: Entry) -> list[str]:
    """What a docstring lacks."""
    found: list[str] = []
    summary, _, rest = entry.docstring.partition("\n")
    if not entry.docstring:
        return ["no docstring"]
    if len(summary) > LONGEST_SUMMARY:
        found.append(f"the summary has {len(summary)} characters, {LONGEST_SUMMARY} at most")
    if not summary.endswith(".") or (rest and not rest.startswith("\n")):
        found.append("the summary is not a line of its own that ends with a full stop")
    unknown = [name for name in entry.documented if name not in entry.parameters]
    if unknown:
        found.append(f"no parameters {unknown}")
    missing = [name for name in entry.parameters if name not in entry.documented]
    if missing and entry.documented:
        found.append(f"nothing is said of the parameters {missing}")
    if entry.owner is not None and missing and not entry.documented:
        found.append(f"no Args: {missing}")
    if not entry.example:
        found.append("no example")
    return found


class Checker(doctest.OutputChecker):
    """Lets an example end with a handle, which has no text worth showing."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return (not want and got.startswith("<tidemill.")) or super().check_output(want, got, optionflags)


def run(example: str, name: str) -> None:
    """Runs an example after the preamble, and then its program on a record of each topic."""
    names: dict[str, Any] = {"__name__": "example"}
    exec(PREAMBLE, names)
    report: list[str] = []
    test = doctest.DocTestParser().get_doctest(example + "\n", names, name, None, 0)
    assert test.examples, "no line begins with >>>"
    doctest.DocTestRunner(Checker(), verbose=False).run(test, out=report.append, clear_globs=False)
    assert not report, "\n".join(report)
    with tm.testing.TopologyDriver(names["app"]) as driver:
        for topic, value in SAMPLES.items() if names["app"].app_id == "shop" else ():
            driver.send(topic, key="ann", value=value, timestamp=1)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_the_docstring_is_complete(entry: Entry) -> None:
    assert problems(entry) == []


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_the_example_runs(entry: Entry) -> None:
    run(entry.example, entry.name)


def test_every_public_name_has_an_entry() -> None:
    assert {entry.name for entry in ENTRIES if entry.owner is None} == set(public_names())


def test_every_public_method_has_an_entry() -> None:
    """What is read from the sources is what the classes have when they are imported."""
    listed = {entry.name for entry in ENTRIES}
    for name in public_names():
        cls = getattr(tm, name, None)
        if isinstance(cls, type):
            own = {method for method, it in vars(cls).items() if inspect.isfunction(it) or isinstance(it, property)}
            expected = {method for method in own if not method.startswith("_")} - CALLED_BY_THE_ENGINE.get(name, set())
            assert {f"{name}.{method}" for method in expected} <= listed


def test_methods_for_the_engine_exist() -> None:
    for name, methods in CALLED_BY_THE_ENGINE.items():
        unknown = [method for method in methods if method not in dir(getattr(tm, name))]
        assert not unknown, f"{name} has no {unknown}"


def test_an_incomplete_docstring_and_a_wrong_example_are_found() -> None:
    complete = next(entry for entry in ENTRIES if entry.name == "Stream.filter")
    assert complete.docstring.count("Args:") == 1

    def changed(old: str, new: str) -> list[str]:
        function = complete.object
        assert function.docstring is not None
        docstring = type(function.docstring)(
            complete.docstring.replace(old, new), parent=function, parser=function.docstring.parser
        )
        kept, function.docstring = function.docstring, docstring
        try:
            return problems(Entry("Stream.filter", function, complete.owner))
        finally:
            function.docstring = kept

    assert changed("", "") == []
    assert changed("function: Gets", "functions: Gets") == [
        "no parameters ['functions']",
        "nothing is said of the parameters ['function']",
    ]
    assert changed("Example:", "For example:") == ["no example"]
    assert len(changed("Keep", "Keep " + "x" * 90)) == 1
    with pytest.raises(AssertionError, match="NameError"):
        run(">>> nothing", "wrong")
    with pytest.raises(AssertionError, match="Expected"):
        run(">>> 1 + 1\n3", "wrong")
    with pytest.raises(tm.RecordError):
        run('>>> orders.filter(lambda order: order["colour"]).to("red")', "wrong")

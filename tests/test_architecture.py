"""Architecture tests, based on syntax trees: allowed imports, banned names per folder, length of files.

The arrows point one way: state <- operators <- engine <- examples. Modules are named by their place under the package
(`engine.kafka.connections`); what they import is named the same way, whether it was imported relatively or not.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.support.source_files import ROOT, parsed, sources

pytestmark = pytest.mark.xdist_group("architecture")  # each file is parsed once

PACKAGES = ("operators", "state", "engine")
LONGEST = 400
MOST_MODULES = 20

KAFKA = {"confluent_kafka", "aiokafka"}
CLIENTS = ("engine.kafka", "engine.group")
"""The folders that import a Kafka client."""
PURE = (
    *("engine.assignment", "engine.watermarks"),
    "engine.config.worker_bounds",
    *(f"engine.{name}" for name in ("counters", "dropped_records", "ids")),
    *(f"engine.plan.{name}" for name in ("alignment", "partition_growth", "plan", "topic_settings")),
    *(f"engine.plan.{name}" for name in ("internal_topics", "kept_names", "source_topics", "store_changes")),
    "engine.plan.union_find",
    "engine.kafka.stalled_partitions",
    *(f"engine.runtime.{name}" for name in ("run_size", "task_states")),
    "engine.serve.load",
    *(f"engine.tasks.{name}" for name in ("buffer", "changelog_ownership", "flow_control", "held_batches", "merging")),
    *(
        f"engine.tasks.{name}"
        for name in ("ordered_buffer", "roles", "shared_sinks", "snapshot_marks", "store_schemas", "topic_ids")
    ),
    "engine.workers.autoscale",
)
"""Decisions as functions on values: no other part of the engine, no clock, no thread, no Kafka."""

TASK = (
    "engine.tasks.decoding",
    "engine.tasks.history_inputs",
    "engine.tasks.operator_graph",
    "engine.tasks.prepared_commit",
    "engine.tasks.task",
    "engine.tasks.task_targets",
    "engine.tasks.task_time",
)
"""A task: its steps, its time, and what it gives to a commit. It knows decisions, and no other part of the engine."""

BELOW_OPERATORS = (
    *("state.store", "state.keys", "state.cache", "state.key_equality"),
    *("state.window_cache", "state.codec", "state.footprint"),
)
VALUES = (
    "operators.errors",
    "operators.graph.topology",
    "operators.record",
    "operators.time.durations",
    "operators.time.watermark",
    "state.changes",
    "state.footprint",
    "state.store",
    "state.topic_partition",
)
BANNED = {"time", "random", "threading", "asyncio", "os", "logging"}
NOW = {(of, name) for of in ("datetime", "date", "dt") for name in ("now", "utcnow", "today")}
WALL = {("time", "time"), ("time", "time_ns")}
THREADS = {"engine.threads", "engine.kafka.deadline"}
"""The modules that create threads; the second passes on any result or error of its thread."""
WORDS = {"operators.time.durations", "operators.suggest"}
"""Parsers of values that users write; they do not depend on operators."""

HANDLES = "operators.dsl"
"""The folder whose classes return each other."""

SHARED = {"engine.errors", "engine.failpoints", "engine.version"}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(module: str, tree: ast.AST, *, is_package: bool = False) -> Iterator[tuple[int, str]]:
    """(line, imported module); names taken from our own packages come with the name, as it may be a module."""
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name.removeprefix("tidemill.")
        elif isinstance(node, ast.ImportFrom):
            base = (node.module or "").removeprefix("tidemill.")
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1] if package else []
                base = ".".join([*above, *(node.module.split(".") if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}" if base.split(".")[0] in (*PACKAGES, "") else base


def within(name: str, *modules: str) -> bool:
    return any(name == module or name.startswith(module + ".") for module in modules)


def ours(name: str) -> bool:
    return within(name, *PACKAGES)


def may_import(module: str, name: str) -> bool:
    """The import table."""
    top = name.partition(".")[0]
    if within(name, "confluent_kafka.schema_registry"):
        return module == "engine.registry.client"
    if top in KAFKA:
        return within(module, *CLIENTS)
    if top == "rocksdict":
        return module in ("state.rocks", "state.rocks_library")
    if within(module, "state"):
        return not within(name, "operators", "engine")
    if within(module, "operators"):
        return (
            top not in BANNED
            and not within(name, "engine")
            and (not within(name, "state") or within(name, *BELOW_OPERATORS))
        )
    if within(module, *PURE):
        return top not in BANNED and (within(name, *PURE, *VALUES) if ours(name) else top in sys.stdlib_module_names)
    if module in TASK:
        return top not in BANNED and (not within(name, "engine") or within(name, *PURE, *SHARED, *TASK))
    if within(module, *CLIENTS):
        return not within(name, "engine.tasks.task", "engine.runtime.loop") and (
            not within(name, "operators") or within(name, "operators.record", *WORDS)
        )
    return True


def violations(module: str, source: str, *, is_package: bool = False) -> list[str]:
    """Return the violations in a module's source, as lines with a remedy."""
    tree = parsed(source)
    found: list[str] = []
    for line, name in imports(module, tree, is_package=is_package):
        if not may_import(module, name):
            found.append(f"{module}:{line} must not import {name}")
    nodes = list(ast.walk(tree))
    indented = any(isinstance(node, ast.Import | ast.ImportFrom) and node.col_offset for node in nodes)
    for outer in nodes:
        if indented and isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef):
            inner = [node for node in ast.walk(outer) if isinstance(node, ast.Import | ast.ImportFrom)]
            found += [f"{module}:{node.lineno} imports inside the function {outer.name}" for node in inner]
        checking = isinstance(outer, ast.Name | ast.Attribute | ast.alias) and _last(outer) == "TYPE_CHECKING"
        if checking and module != "__init__":  # there it names what is loaded when it is used
            found.append(f"{module} has a TYPE_CHECKING block, which hides an import cycle")
        if isinstance(outer, ast.Attribute):
            asked = (_last(outer.value), outer.attr)
            if asked in NOW and within(module, "operators", *PURE, *TASK):
                found.append(f"{module}:{outer.lineno} asks the clock: {ast.unparse(outer)}")
            if asked == ("threading", "Thread") and module not in THREADS:
                found.append(f"{module}:{outer.lineno} starts a thread that may end unheard: see engine/threads.py")
            if asked in WALL and module != "engine.clock":
                found.append(f"{module}:{outer.lineno} asks the wall clock, which is engine/clock.py's to ask")
    return found


def _last(node: ast.AST) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name):
            return name
        case _:
            return ""


def test_imports_follow_the_table() -> None:
    found = [
        line
        for path in [*ROOT.glob("*.py"), *sources(*PACKAGES)]
        for line in violations(module_of(path), path.read_text(), is_package=path.name == "__init__.py")
    ]
    assert not found, "\n".join(found)


def import_lines(path: Path) -> list[str]:
    """The lines that may be an absolute import."""
    return re.findall(r"^ *(?:from|import) [a-z].*", path.read_text(), re.MULTILINE)


def test_nothing_imports_the_folders_as_if_they_were_packages_of_their_own() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sources(*PACKAGES, "examples", "bench", "tests")
        if any(f" {name}" in line for line in import_lines(path) for name in PACKAGES)
        for node in ast.walk(parsed(path.read_text()))
        if (isinstance(node, ast.ImportFrom) and not node.level and within(node.module or "", *PACKAGES))
        or (isinstance(node, ast.Import) and any(within(alias.name, *PACKAGES) for alias in node.names))
    ]
    assert not found, "import tidemill.engine..., not engine...: " + ", ".join(found)


def cycle_of_modules(sources: dict[str, tuple[str, bool]]) -> list[str]:
    """The first cycle of imports among modules (source, whether it is a package), or nothing.

    The handles of the DSL return each other from their methods, so their modules refer to each other. They may, as
    whole modules (`from . import table as tables`), whose names are looked up only when a method runs.
    """
    arrows: dict[str, set[str]] = {}
    for module, (source, is_package) in sources.items():
        arrows[module] = set()
        for _, name in imports(module, parsed(source), is_package=is_package):
            to = name if name in sources else name.rpartition(".")[0]
            whole = name == to and within(module, HANDLES) and within(to, HANDLES)
            if to in sources and to != module and not within(module, to) and not whole:
                arrows[module].add(to)
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_there_is_no_import_cycle() -> None:
    paths = [*ROOT.glob("*.py"), *sources(*PACKAGES)]
    cycle = cycle_of_modules({module_of(path): (path.read_text(), path.name == "__init__.py") for path in paths})
    assert not cycle, "a cycle: " + " <- ".join(cycle)


def test_a_cycle_of_modules_is_found() -> None:
    names = {"a": "from .b import B", "b": "from .c import C", "c": "from .a import A"}
    modules = {"a": "from . import b", "b": "from . import a", "c": "from .a import A"}

    def cyclic(folder: str, sources: dict[str, str]) -> bool:
        return bool(cycle_of_modules({f"{folder}.{name}": (source, False) for name, source in sources.items()}))

    assert cyclic("engine.plan", names)
    assert cyclic("engine.plan", modules)
    assert cyclic(HANDLES, names)
    assert not cyclic(HANDLES, modules)


def folders() -> dict[str, set[str]]:
    """The folders that each folder imports."""
    paths = {module_of(path): path for path in [*ROOT.glob("*.py"), *sources(*PACKAGES)]}
    arrows: dict[str, set[str]] = {}
    for module, path in paths.items():
        above = arrows.setdefault(str(path.parent.relative_to(ROOT)), set())
        for _, name in imports(module, parsed(path.read_text()), is_package=path.name == "__init__.py"):
            to = paths.get(name) or paths.get(name.rpartition(".")[0])
            if to is not None and to.parent != path.parent:
                above.add(str(to.parent.relative_to(ROOT)))
    return arrows


def floors(arrows: dict[str, set[str]]) -> str:
    """The folders, the highest first; each imports only folders that are further down. Raises CycleError."""
    order = [*TopologicalSorter(arrows).static_order()]
    floor: dict[str, int] = {}
    for name in order:
        floor[name] = max((floor[to] + 1 for to in arrows.get(name, ())), default=0)
    lines = [(n, sorted(name for name in order if floor[name] == n)) for n in sorted({*floor.values()}, reverse=True)]
    return "\n".join(f"{n:2}  {'  '.join(names)}" for n, names in lines)


def test_folders_import_each_other_one_way() -> None:
    try:
        drawing = floors(folders())
    except CycleError as error:
        pytest.fail(f"a cycle of folders: {' <- '.join(error.args[1])}")
    drawn = (ROOT / "docs" / "architecture.md").read_text()
    assert drawing in drawn, f"docs/architecture.md draws the folders otherwise than they are now:\n{drawing}"


def test_a_cycle_of_folders_is_found() -> None:
    assert floors({"a": {"b", "c"}, "b": {"c"}, "d": {"c"}}) == " 2  a\n 1  b  d\n 0  c"
    with pytest.raises(CycleError):
        floors({"a": {"b"}, "b": {"c"}, "c": {"a"}})


def test_a_file_has_one_concept() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in [*ROOT.glob("*.py"), *sources(*PACKAGES, "examples", "bench", "tests")]
    }
    long = {name: lines for name, lines in lengths.items() if lines > LONGEST}
    assert not long, f"over {LONGEST} lines, look for the second concept: {long}"


def test_modules_have_a_docstring_about_their_decisions() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in sources(*PACKAGES, "examples", "tests")
        if (text := path.read_text()).strip() and not text.startswith('"""') and not ast.get_docstring(parsed(text))
    ]
    assert not silent, f"no docstring: {silent}"


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("state.keys", "from ..operators.record import Record", "operators.record"),
        ("state.memory", "import rocksdict", "rocksdict"),
        ("state.rocks", "import confluent_kafka.admin", "confluent_kafka"),
        ("operators.aggregates.keyed", "from ...state.rocks import RocksStore", "state.rocks"),
        ("operators.aggregates.keyed", "from ...engine.clock import Clock", "engine.clock"),
        ("operators.aggregates.keyed", "import os.path", "os.path"),
        ("operators.aggregates.keyed", "from time import sleep", "time"),
        ("operators.aggregates.keyed", "import datetime as dt\nx = dt.datetime.now()", "asks the clock"),
        ("engine.plan.plan", "from ..tasks.task import Task", "engine.tasks.task"),
        ("engine.plan.plan", "import msgspec", "msgspec"),
        ("engine.plan.plan", "import logging", "logging"),
        ("engine.tasks.task", "from ..clock import Clock", "engine.clock"),
        ("engine.tasks.task", "import threading", "threading"),
        ("engine.runtime.loop", "from confluent_kafka import Producer", "confluent_kafka"),
        ("engine.runtime.loop", "import time\nnow = time.time()", "wall clock"),
        ("engine.kafka.consumer", "from ..tasks import task", "engine.tasks.task"),
        ("engine.kafka.consumer", "from ..runtime.loop import Loop", "engine.runtime.loop"),
        ("engine.kafka.consumer", "from ...operators.graph.topology import Node", "operators.graph.topology"),
        ("app", "def f():\n    import json", "inside the function f"),
        ("app", "from typing import TYPE_CHECKING", "TYPE_CHECKING"),
    ],
)
def test_each_rule_detects_a_violation(module: str, source: str, complaint: str) -> None:
    assert complaint in "\n".join(violations(module, source))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("operators.aggregates.keyed", "from ...state.cache import StateCache\nimport msgspec"),
        ("state.rocks", "from rocksdict import Rdict\nfrom .store import Store"),
        ("engine.plan.plan", "from ...operators.graph.topology import Node\nfrom ..ids import TaskId\nimport hashlib"),
        ("engine.tasks.task", "from ...state.cache import StateCache\nfrom ..plan.plan import SubTopology"),
        ("engine.kafka.consumer", "from confluent_kafka import Consumer\nfrom ...operators.record import Record"),
        ("engine.runtime.loop", "from ..kafka.consumer import InputConsumer\nfrom ..tasks.task import Task"),
    ],
)
def test_what_is_allowed_passes(module: str, source: str) -> None:
    assert violations(module, source) == []


def test_every_folder_of_the_package_is_shipped() -> None:
    """setup.py finds folders that are packages."""
    missing = {str(path.parent) for path in sources(*PACKAGES) if not (path.parent / "__init__.py").exists()}
    assert not missing, f"no __init__.py: {missing}"


def test_a_folder_has_few_modules() -> None:
    found = {path.parent for path in sources(*PACKAGES)}
    full = {str(it): n for it in found if (n := len([*it.glob("*.py")]) - 1) > MOST_MODULES}
    assert not full, f"over {MOST_MODULES} modules, look for the second concept: {full}"

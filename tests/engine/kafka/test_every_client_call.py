"""Test that every call of the Kafka client is made where its errors are translated.

The check uses syntax trees. A call is translated by `with asking(...)` or `with acting(...)`, by a `try` or `suppress`
of the client's errors, or by being passed to `_ask`. Most calls of an admin client return futures: there, waiting for
the result counts. A private method that makes calls may leave the translation to its callers, all of which must do it.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import tidemill.engine

ENGINE = Path(tidemill.engine.__file__).parent
CLIENTS = {"_producer", "_admin", "_consumer"}
OURS = {"changelog_reader.py"}
"""Where `_consumer` is the engine's own, whose errors are translated."""
SILENT = {"_consumer.close", "_admin.poll"}
"""Methods of the client that raise nothing of Kafka."""
BLOCKING = {"_admin.list_topics"}
"""Methods of an admin client that give no future."""
CAUGHT = {"KafkaException", "CLIENT_FAILURES", "Exception"}
TRANSLATING = {"asking", "acting", "_acting"}


def called(node: ast.AST) -> str:
    return getattr(node, "attr", getattr(node, "id", ""))


def catches(*kinds: ast.AST) -> bool:
    return bool({called(each) for kind in kinds for each in ast.walk(kind)} & CAUGHT)


def translates(node: ast.AST, child: ast.AST) -> bool:
    """Whether a statement or call around `child` translates its errors."""
    if isinstance(node, ast.With) and child in node.body:
        made = [item.context_expr for item in node.items if isinstance(item.context_expr, ast.Call)]
        return any(called(each.func) in TRANSLATING or catches(*each.args) for each in made)
    if isinstance(node, ast.Try) and child in node.body:
        return catches(*(handler.type for handler in node.handlers if handler.type is not None))
    return isinstance(node, ast.Call) and called(node.func) == "_ask"


def method_of_client(node: ast.AST) -> bool:
    if not isinstance(node, ast.Attribute):
        return False
    client, method = called(node.value), node.attr
    if client == "_admin":
        return f"_admin.{method}" in BLOCKING
    return (client in CLIENTS and f"{client}.{method}" not in SILENT) or method == "result"


def bare_calls(tree: ast.Module) -> list[tuple[str, str]]:
    """The calls of a client, and of a method of ours that leaves its errors to the caller, that nothing around them
    translates: where, and what is called."""
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}

    def bare_in(node: ast.AST) -> ast.AST | None:
        """The function that has the call, unless its errors are translated."""
        while node in parents:
            around = parents[node]
            if translates(around, node):
                return None
            if isinstance(around, (ast.FunctionDef, ast.AsyncFunctionDef)):
                return around
            node = around
        return tree

    def aliases(function: ast.AST) -> set[str]:
        """Names for methods of a client: `produce = self._producer.produce`."""
        made = [node for node in ast.walk(function) if isinstance(node, ast.Assign)]
        named = [node for node in made if any(method_of_client(each) for each in uncalled(node.value))]
        return {called(each) for node in named for target in node.targets for each in ast.walk(target)} - {""}

    def uses(names: set[str]) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and (function := bare_in(node)) is not None:
                what = node.func
                ours = isinstance(what, ast.Attribute) and called(what.value) == "self" and what.attr in names
                named = isinstance(what, ast.Name) and what.id in aliases(function)
                if method_of_client(what) or ours or named:
                    found.append((called(function) or getattr(function, "name", ""), called(what)))
        return found

    private = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("_")}
    leaving: set[str] = set()
    while True:
        bare = uses(leaving)
        more = {function for function, _ in bare} & private
        if more <= leaving:
            return [each for each in bare if each[0] not in leaving]
        leaving |= more


def uncalled(value: ast.AST) -> list[ast.AST]:
    """What is in an expression without being called there."""
    functions = {node.func for node in ast.walk(value) if isinstance(node, ast.Call)}
    return [node for node in ast.walk(value) if node not in functions]


def files() -> list[Path]:
    return [
        path
        for path in sorted([*(ENGINE / "kafka").glob("*.py"), *(ENGINE / "group").rglob("*.py")])
        if path.name not in OURS and any(f"{client}." in path.read_text() for client in CLIENTS)
    ]


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
def test_every_call_of_the_client_is_translated(path: Path) -> None:
    assert bare_calls(ast.parse(path.read_text())) == []


def test_a_call_that_is_not_translated_is_found() -> None:
    text = """
class One:
    def good(self):
        with asking("look"):
            self._admin.list_topics()
            self._helper()
    def caught(self):
        try:
            self._consumer.consume(1)
        except KafkaException as failure:
            raise translate(failure) from failure
    def _helper(self):
        self._producer.poll(0)
    def bad(self):
        self._helper()
        self._admin.list_topics()
    def late(self):
        with asking("look"):
            pass
        self._producer.flush(1)
    def named(self):
        produce = self._producer.produce
        produce("topic")
    def waiting(self):
        self._admin.create_topics([])[0].result()
"""
    assert bare_calls(ast.parse(text)) == [
        ("bad", "_helper"),
        ("bad", "list_topics"),
        ("late", "flush"),
        ("named", "produce"),
        ("waiting", "result"),
    ]

"""Test that every command in a message or on a page exists, with its options."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tidemill.engine.cli.main import cli

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"(?:`|\$ |^)tidemill ([a-z][^`\n]*)", re.MULTILINE)
PLACEHOLDER = "x"


def in_messages() -> Iterator[tuple[str, str]]:
    """The texts in the code, with what is filled in replaced by a word."""
    inside = (path for folder in ("engine", "operators", "state") for path in (ROOT / folder).rglob("*.py"))
    for path in (*ROOT.glob("*.py"), *inside):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield str(path.relative_to(ROOT)), node.value
            elif isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else PLACEHOLDER for part in node.values]
                yield str(path.relative_to(ROOT)), "".join(map(str, parts))


def in_pages() -> Iterator[tuple[str, str]]:
    for path in [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "deploy").rglob("*.md"),
    ]:
        yield str(path.relative_to(ROOT)), path.read_text()


def unknown(text: str) -> list[str]:
    """What the commands in a text name that there is not."""
    found: list[str] = []
    for match in NAMED.finditer(text):
        words = match.group(1).rstrip(".,:;").split()
        command: click.Command = cli
        while isinstance(command, click.Group) and words:
            name = words.pop(0)
            if name not in command.commands:
                found.append(f"tidemill {match.group(1)}: there is no command {name!r}")
                break
            command = command.commands[name]
        else:
            known = {option for parameter in command.params for option in parameter.opts} | {"--help", "-h"}
            given = {word.partition("=")[0] for word in words if re.fullmatch(r"--?[a-zA-Z][a-z-]*(=.*)?", word)}
            found += [f"tidemill {match.group(1)}: no option {option}" for option in sorted(given - known)]
    return found


@pytest.mark.parametrize("texts", [in_messages, in_pages])
def test_every_command_that_is_named_exists(texts: object) -> None:
    assert callable(texts)
    wrong = [f"{where}: {problem}" for where, text in texts() for problem in unknown(text)]  # type: ignore[attr-defined]
    assert not wrong, "\n".join(wrong)


def test_a_command_or_an_option_that_does_not_exist_is_found() -> None:
    assert unknown("run `tidemill rescale` or `tidemill reset x --topic y`") == [
        "tidemill rescale: there is no command 'rescale'"
    ]
    assert unknown("$ tidemill reset views.py --everything") == [
        "tidemill reset views.py --everything: no option --everything"
    ]
    assert unknown("`tidemill state dump views.py seen`") == []

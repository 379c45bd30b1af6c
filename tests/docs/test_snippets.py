"""Everything in README.md and docs/ that looks like code is run or checked. See snippets.py for the marks."""

from __future__ import annotations

import re
import shlex
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest

from tidemill.engine.cli.main import cli
from tidemill.engine.cli.run import settings_options
from tidemill.engine.config.sources import load

from .snippets import LANGUAGES, ROOT, Snippet, commands, files, pages, programs, snippets

PROGRAMS = [group for page in pages() for group in programs(page)]
COMMANDS = [item for page in pages() for item in commands(page)]
TOML = [snippet for page in pages() for snippet in snippets(page) if snippet.language == "toml"]
OTHERS = {
    "cd",
    "curl",
    "docker",
    "export",
    "git",
    "kafka-configs",
    "kafka-console-consumer",
    "kafka-topics",
    "kill",
    "open",
}
"""Commands that are not ours; what follows them is not checked."""


@click.command()
@settings_options()
def a_program(**_: Any) -> None:
    """Has the options of every program."""


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_is_marked(page: Path) -> None:
    for snippet in snippets(page):
        assert snippet.language in LANGUAGES, f"{snippet.place}: {snippet.language!r} is not one of {LANGUAGES}"


@pytest.mark.parametrize("group", PROGRAMS, ids=lambda group: group[0].place)
def test_python_runs(group: list[Snippet], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    module = ModuleType("snippet")
    monkeypatch.setitem(sys.modules, "snippet", module)
    for snippet in group:
        source = "\n" * snippet.line + snippet.text
        exec(compile(source, str(snippet.page), "exec", dont_inherit=True), module.__dict__)


@pytest.mark.parametrize("snippet", TOML, ids=lambda snippet: snippet.place)
def test_toml_is_a_settings_file(snippet: Snippet, tmp_path: Path) -> None:
    path = tmp_path / "tidemill.toml"
    path.write_text(snippet.text)
    load("app", {}, config=str(path))


@pytest.mark.parametrize(("snippet", "command"), COMMANDS, ids=lambda item: str(getattr(item, "place", item))[:60])
def test_commands_exist(snippet: Snippet, command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    written = files(ROOT / "README.md") | files(snippet.page)
    for name, text in written.items():
        (tmp_path / name).write_text(text)
    words = [word for word in shlex.split(command, comments=True) if word != "&"]
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    program, arguments = words[0], words[1:]
    if program == "make":
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        assert {word for word in arguments if "=" not in word} <= targets
    elif program == "tidemill":
        monkeypatch.chdir(tmp_path)
        found: click.Command | None = cli
        while isinstance(found, click.Group):
            _, found, arguments = found.resolve_command(click.Context(found), arguments)
        assert found is not None
        found.make_context("tidemill", arguments)
    elif program == "python":
        if arguments[0] == "-m":
            return
        assert arguments[0] in written or (ROOT / arguments[0]).is_file(), f"there is no {arguments[0]}"
        if not arguments[0].startswith("examples/flights/demo"):
            a_program.make_context("program", arguments[1:])
    elif program == "pip":
        extras = re.search(
            r"^\[project.optional-dependencies\]\n(.*?)^\[",
            (ROOT / "pyproject.toml").read_text(),
            re.MULTILINE | re.DOTALL,
        )
        assert extras is not None
        for extra in re.findall(r"\[([a-z,]+)\]", command):
            for name in extra.split(","):
                assert re.search(rf"^{name} = \[", extras[1], re.MULTILINE), f"there is no extra {name}"
    else:
        assert program in OTHERS, f"{snippet.place}: nothing is known of the command {program}"


LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)):
        path, _, anchor = target.partition("#")
        if path.startswith("http"):
            continue
        linked = page if not path else (page.parent / path).resolve()
        assert linked.exists(), f"{page.relative_to(ROOT)} links to {target}, which is not there"
        if anchor:
            assert anchor in anchors(linked), f"{page.relative_to(ROOT)} links to {target}: no such heading"


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub makes anchors of them; one that comes again gets a number."""
    found: set[str] = set()
    times: Counter[str] = Counter()
    for heading in re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE):
        anchor = re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        found.add(f"{anchor}-{times[anchor]}" if times[anchor] else anchor)
        times[anchor] += 1
    return found

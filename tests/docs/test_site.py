"""The site of the documentation: all pages, titles of code, the search, and links that lead nowhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .snippets import ROOT

pytestmark = pytest.mark.slow


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False, timeout=110)


def copy(root: Path) -> None:
    shutil.copytree(ROOT / "docs", root / "docs")
    (root / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "site.py", root / ".ci")
    shutil.copy(ROOT / "mkdocs.yml", root)
    for folder in ("examples", "bench"):
        shutil.copytree(ROOT / folder, root / folder)
    shutil.copy(ROOT / "CONTRIBUTING.md", root)


def test_the_site_is_whole(tmp_path: Path) -> None:
    result = build(ROOT, tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    pages = sorted((ROOT / "docs").rglob("*.md"))
    made = {path: path.read_text() for path in tmp_path.rglob("*.html") if path.name != "404.html"}
    assert len(made) == len(pages)
    assert [path for path, text in made.items() if "```" in text] == []
    shop = (tmp_path / "sinks.html").read_text()
    assert '<span class="filename">shop.py</span>' in shop
    assert ">Change data capture</a>" in (tmp_path / "index.html").read_text()
    assert not any('href="../examples' in text or 'href="../CONTRIBUTING' in text for text in made.values())
    entries = json.loads((tmp_path / "search" / "search_index.json").read_text())["docs"]
    assert any(entry["location"] == "reference/serdes.html#tmdebezium" for entry in entries)


@pytest.mark.parametrize(
    ("page", "text", "message"),
    [
        ("tables.md", "See [this](nowhere.md).", "nowhere.md"),
        ("tables.md", "See [this](joins.md#nowhere).", "does not contain an anchor '#nowhere'"),
        ("tables.md", "See [this](../examples/nowhere.py).", "there is no ../examples/nowhere.py"),
        ("new.md", "# New", "has no place for new.md"),
    ],
)
def test_what_is_wrong_is_refused(tmp_path: Path, page: str, text: str, message: str) -> None:
    copy(tmp_path)
    path = tmp_path / "docs" / page
    path.write_text((path.read_text() if path.exists() else "") + f"\n{text}\n")
    result = build(tmp_path, tmp_path / "site")
    assert result.returncode != 0
    assert message in result.stdout + result.stderr

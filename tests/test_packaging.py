"""Test of `pip install .` from a copy of the sources: the package, its types, the command."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LEFT_OUT = shutil.ignore_patterns(
    ".*", "__pycache__", "*.egg-info", "build", "dist", "tests", "bench", "tidemill-state"
)


def run(*command: str, cwd: Path, **environment: str) -> str:
    told = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=110
    )
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout


@pytest.mark.slow
def test_an_installed_copy_is_complete(tmp_path: Path) -> None:
    shutil.copytree(ROOT, tmp_path / "sources", ignore=LEFT_OUT)
    site = tmp_path / "site"
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check")
    run(*pip, "--target", str(site), str(tmp_path / "sources"), cwd=tmp_path)

    shipped = {str(path.relative_to(site / "tidemill")) for path in (site / "tidemill").rglob("*") if path.is_file()}
    folders = ("operators", "state", "engine")
    front_door = (path for path in ROOT.glob("*.py") if path.name != "setup.py")
    sources = [*front_door, *(path for folder in folders for path in (ROOT / folder).rglob("*.py"))]
    expected = {"py.typed", *(str(path.relative_to(ROOT)) for path in sources)}
    assert {name for name in shipped if "__pycache__" not in name} == expected

    program = "import tidemill as tm; print(tm.__file__, tm.__version__)"
    place, version = run(sys.executable, "-c", program, cwd=tmp_path, PYTHONPATH=str(site)).split()
    assert place == str(site / "tidemill" / "__init__.py")
    assert version in run(str(site / "bin" / "tidemill"), "--version", cwd=tmp_path, PYTHONPATH=str(site))


@pytest.mark.slow
def test_a_wheel_works_in_a_clean_environment(tmp_path: Path) -> None:
    """With its dependencies and without the sources; `make test-wheel` does the same on every Python."""
    shutil.copytree(ROOT, tmp_path / "sources", ignore=LEFT_OUT)
    pip = ("-m", "pip", "--disable-pip-version-check")
    run(sys.executable, *pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", "wheel", "./sources", cwd=tmp_path)
    [wheel] = (tmp_path / "wheel").glob("tidemill-*-py3-none-any.whl")
    run(sys.executable, "-m", "venv", "clean", cwd=tmp_path)
    python = str(tmp_path / "clean" / "bin" / "python")
    run(python, *pip, "install", "--quiet", str(wheel), cwd=tmp_path)
    run(python, *pip, "check", cwd=tmp_path)
    told = run(python, "-I", str(ROOT / ".ci" / "try_installed.py"), cwd=tmp_path)
    assert told.startswith("Tidemill "), told


def test_every_extra_is_documented() -> None:
    project, page = (ROOT / "pyproject.toml").read_text(), (ROOT / "docs" / "install.md").read_text()
    section = project.partition("[project.optional-dependencies]\n")[2].partition("\n[")[0]
    rows = re.findall(r"^\| `([a-z0-9]+)` \|", page, re.MULTILINE)
    assert sorted(rows) == sorted(re.findall(r"^([a-z0-9]+) = \[", section, re.MULTILINE))
    versions = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', project)
    assert f"Python {versions[0]} to {versions[-1]}" in page

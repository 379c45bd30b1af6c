"""What `pip install .` gives from a copy of the sources alone: the package, its types, the command."""

from __future__ import annotations

import os
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
def test_an_installed_copy_is_whole(tmp_path: Path) -> None:
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

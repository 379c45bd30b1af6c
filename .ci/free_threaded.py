"""Print which dependencies have a wheel for free-threaded Pythons.

    python .ci/free_threaded.py 3.13 3.14

A dependency without one is built from source there, if its maker's build allows that, and may bring the GIL back.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from importlib.metadata import requires
from pathlib import Path

PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "any")


def wheel(requirement: str, version: str, folder: Path) -> str | None:
    """Return the name of the wheel that pip would take, None if there is none."""
    tags = [f"--platform={platform}" for platform in PLATFORMS]
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"),
        *("--only-binary=:all:", "--implementation=cp", f"--python-version={version}"),
        *(f"--abi=cp{version.replace('.', '')}t", "--abi=none", *tags, f"--dest={folder}", requirement),
    ]
    before = set(folder.iterdir())
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    new = sorted(path.name for path in set(folder.iterdir()) - before)
    return new[0] if done.returncode == 0 and new else None


def main() -> None:
    requirements = [each.split(";")[0].strip() for each in requires("tidemill") or [] if "extra ==" not in each]
    for version in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as folder:
            found = {re.split("[<>=]", each)[0]: wheel(each, version, Path(folder)) for each in requirements}
        missing = [name for name, made in found.items() if made is None]
        print(f"Python {version}t: {len(found) - len(missing)} of {len(found)} dependencies have a wheel", end="")
        print(f"; none: {', '.join(missing)}" if missing else "")


if __name__ == "__main__":
    main()

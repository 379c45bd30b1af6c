"""Run the examples of faust-streaming under `tidemill faust worker`, and report each.

    python -m bench.faust_examples CHECKOUT --broker localhost:9092 [--seconds 8]

An example runs if the worker is still up after some seconds, without an agent that has failed, and stops cleanly.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

VARIABLES = "TIDEMILL_BROKER"


def fares(example: Path, broker: str, seconds: float, directory: Path) -> str:
    """One line about an example."""
    log = directory / f"{example.stem}.log"
    command = [str(Path(sys.executable).with_name("tidemill")), "faust", "worker", "-A", example.stem]
    options = ["--datadir", str(directory / example.stem), "--without-web"]
    with log.open("wb") as output:
        child = subprocess.Popen(
            [*command, *options],
            cwd=example.parent,
            env={**os.environ, VARIABLES: broker},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            code = child.wait(seconds)
        except subprocess.TimeoutExpired:
            child.terminate()
            try:
                code = child.wait(30)
            except subprocess.TimeoutExpired:
                child.kill()
                return "does not stop"
            said = log.read_text(errors="replace")
            if "is ready" not in said:
                return "does not start: " + last_line(said)
            return "an agent fails" if "an agent has failed" in said else f"runs, exit code {code}"
    return f"ends with {code}: " + last_line(log.read_text(errors="replace"))


def last_line(said: str) -> str:
    """Return the line that says most about why a program has ended."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("error", "Error")) or "Error:" in line]
    return (errors or lines or ["nothing was printed"])[-1][:160]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.faust_examples", description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--broker", default="localhost:9092")
    parser.add_argument("--seconds", type=float, default=8)
    given = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="faust-examples-"))
    print(f"logs in {directory}", file=sys.stderr)
    for example in sorted((given.checkout / "examples").rglob("*.py")):
        if "App(" in example.read_text():
            print(f"{example.name:32} {fares(example, given.broker, given.seconds, directory)}", flush=True)


if __name__ == "__main__":
    main()

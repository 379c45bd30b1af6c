"""The guardian: a separate program that is the parent of every process the tests start, and cleans up after the run.

It reads one JSON request per line from standard input and writes one response line for each. When its input ends,
however the test run ended (even by SIGKILL), it kills what still runs, with all descendants in the same process group,
runs the registered clean-up commands and removes the registered directories. It contains no logic about brokers.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any


class Guardian:
    def __init__(self) -> None:
        self.children: dict[int, subprocess.Popen[bytes]] = {}
        self.directories: list[str] = []
        self.commands: list[list[str]] = []

    def answer(self, request: dict[str, Any]) -> Any:
        match request["do"]:
            case "spawn":
                with Path(request["log"]).open("ab") as log:
                    child = subprocess.Popen(
                        request["argv"],
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        cwd=request["cwd"],
                        env=request["env"],
                        start_new_session=True,
                    )
                self.children[child.pid] = child
                return child.pid
            case "poll":
                return self.children[request["pid"]].poll()
            case "signal":
                child = self.children[request["pid"]]
                if child.poll() is None:
                    with suppress(ProcessLookupError):
                        os.killpg(child.pid, request["number"])
                return None
            case "remove-at-end":
                self.directories.append(request["path"])
                return None
            case "run-at-end":
                self.commands.append(request["argv"])
                return None
            case other:
                raise ValueError(f"unknown request {other!r}")

    def finish(self) -> None:
        for child in self.children.values():
            # Descendants may outlive the group leader, so the group is killed even if the leader was reaped.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
        for child in self.children.values():
            child.wait()
        for argv in self.commands:
            with suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
        for path in self.directories:
            shutil.rmtree(path, ignore_errors=True)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(
            number, lambda *_: None
        )  # not SIG_IGN: children would inherit it and could not be stopped gracefully
    guardian = Guardian()
    try:
        for line in sys.stdin:
            try:
                reply = {"ok": guardian.answer(json.loads(line))}
            except (OSError, ValueError, KeyError) as error:
                reply = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(reply), flush=True)
    except BrokenPipeError:
        pass
    finally:
        guardian.finish()


if __name__ == "__main__":
    main()

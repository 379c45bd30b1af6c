"""The guardian: a small program of its own that owns every process the tests start, and outlives the test run by a
moment.

It reads one JSON request a line from standard input and answers each with one line. When its input ends, however the
test run ended (even by SIGKILL), it kills what is still running, with all descendants in the same process group, runs
the clean-up commands it was given and removes the directories it was given. It decides nothing about brokers.
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
            # The group may hold descendants after its leader is gone, so it is killed even when the leader was reaped.
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
        )  # not SIG_IGN: children would inherit that and could not be stopped in good order
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

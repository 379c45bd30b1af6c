"""The same server of S3's API in a process of its own, for clients that keep the interpreter to themselves."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError

from tests.brokers import ports
from tests.brokers.process import Child, remove, spawn, tail, temporary_directory

from .s3 import ACCESS, BUCKET

__all__ = ["S3Apart", "start"]


class S3Apart:
    """A running server with one bucket. What is stored goes with it."""

    def __init__(self, child: Child, directory: Path, address: str) -> None:
        self.child = child
        self._directory = directory
        self.url = f"s3://{BUCKET}"
        self.environment = {"AWS_ENDPOINT_URL": address, "AWS_ALLOW_HTTP": "true", **ACCESS}

    def close(self) -> None:
        self.child.kill()
        remove(self._directory)


def start() -> S3Apart:
    """A server that is ready."""
    port, directory = ports.reserve(), temporary_directory("s3")
    argv = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    child = spawn(argv, log=directory / "s3.log", cwd=directory)
    server = S3Apart(child, directory, f"http://127.0.0.1:{port}")
    client = boto3.client(
        "s3", endpoint_url=server.environment["AWS_ENDPOINT_URL"], aws_access_key_id="a", aws_secret_access_key="b"
    )
    deadline = time.monotonic() + 30
    while True:
        try:
            client.create_bucket(Bucket=BUCKET)
            return server
        except BotoCoreError as error:
            if time.monotonic() > deadline or child.poll() is not None:
                server.close()
                raise TimeoutError(f"S3 did not come up: {tail(child.log)}") from error
            time.sleep(0.1)

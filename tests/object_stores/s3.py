"""A test server with the API of S3 in this process: moto."""

from __future__ import annotations

import boto3
from moto.server import ThreadedMotoServer

__all__ = ["ACCESS", "BUCKET", "S3", "start"]

BUCKET = "bucket"
ACCESS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}


class S3:
    """A running server with one bucket."""

    def __init__(self, server: ThreadedMotoServer) -> None:
        self._server = server
        self.url = f"s3://{BUCKET}"
        host, port = self._address = server.get_host_and_port()
        self.environment = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", **ACCESS}
        """The environment variables with the address of the server."""

    def stop(self) -> None:
        """Refuse connections from now on; stored objects are kept."""
        server = self._server._server
        self._server.stop()
        assert server is not None
        server.server_close()

    def restart(self) -> None:
        """Accept connections again, at the same address."""
        host, port = self._address
        self._server = ThreadedMotoServer(ip_address=host, port=port, verbose=False)
        self._server.start()

    def close(self) -> None:
        self._server.stop()


def start() -> S3:
    """Run a server until the end of the block."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    s3 = S3(server)
    client = boto3.client(
        "s3", endpoint_url=s3.environment["AWS_ENDPOINT_URL"], aws_access_key_id="a", aws_secret_access_key="b"
    )
    client.create_bucket(Bucket=BUCKET)
    return s3

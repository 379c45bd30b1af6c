"""Hosts whose network can fail: network namespaces on a bridge, each with its own address. Needs Linux and root.

A process started with the `prefix` of a host runs in its namespace. `vanish` takes the link of the host down: packets
from and to it are silently lost, as after a power failure or a network partition, and no connection is closed. The
address of the bridge belongs to the machine itself, where a broker may listen.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass

_NETWORK = "10.87.{}"


class Unavailable(Exception):
    """Hosts cannot be created on this machine; the message says why."""


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=20)


@dataclass(frozen=True)
class Host:
    """A network namespace with an address."""

    name: str
    address: str
    link: str
    """The end of its link that is on this machine's side."""

    @property
    def prefix(self) -> list[str]:
        """The command prefix that runs a program on this host."""
        return ["ip", "netns", "exec", self.name]

    def vanish(self) -> None:
        """Drop all packets from and to this host."""
        _ip("link", "set", self.link, "down")

    def return_(self) -> None:
        """Deliver packets from and to this host again."""
        _ip("link", "set", self.link, "up")


class Network:
    """A bridge with hosts, as a context manager that removes everything at its end."""

    def __init__(self, hosts: int) -> None:
        self._number = os.getpid() % 250
        self._bridge = f"tm{self._number}"
        self._count = hosts
        self.address = f"{_NETWORK.format(self._number)}.1"
        self.hosts: list[Host] = []

    def __enter__(self) -> Network:
        """Create the hosts; raise Unavailable if network namespaces are not supported or not permitted."""
        if os.geteuid() != 0 or shutil.which("ip") is None:
            raise Unavailable("network namespaces need root and the command `ip`")
        try:
            _ip("link", "add", self._bridge, "type", "bridge")
            _ip("addr", "add", f"{self.address}/24", "dev", self._bridge)
            _ip("link", "set", self._bridge, "up")
            for number in range(2, 2 + self._count):
                self.hosts.append(self._host(number))
        except (OSError, subprocess.SubprocessError) as failure:
            self.__exit__()
            raise Unavailable(f"there are no network namespaces here: {failure}") from failure
        return self

    def __exit__(self, *_: object) -> None:
        for host in self.hosts:
            with suppress(subprocess.SubprocessError):
                _ip("link", "del", host.link)
            with suppress(subprocess.SubprocessError):
                _ip("netns", "del", host.name)
        with suppress(OSError, subprocess.SubprocessError):
            _ip("link", "del", self._bridge)

    def _host(self, number: int) -> Host:
        name = f"{self._bridge}-{number}"
        host = Host(name, f"{_NETWORK.format(self._number)}.{number}", f"{self._bridge}o{number}")
        inner = f"{self._bridge}i{number}"
        _ip("netns", "add", name)
        _ip("link", "add", host.link, "type", "veth", "peer", "name", inner)
        _ip("link", "set", inner, "netns", name)
        _ip("link", "set", host.link, "master", self._bridge, "up")
        for arguments in (
            ("addr", "add", f"{host.address}/24", "dev", inner),
            ("link", "set", inner, "up"),
            ("link", "set", "lo", "up"),
        ):
            _ip("netns", "exec", name, "ip", *arguments)
        return host

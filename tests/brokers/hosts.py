"""Hosts that can vanish: network namespaces on a bridge, each with an address of its own. Linux, and root.

A process started with a host's `prefix` lives there. `vanish` takes the host's link down: packets to it and from it are
lost without a word, as when a machine loses its power or a switch its mind, and no connection is closed. The address of
the bridge itself is this machine's, where a broker may listen.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass

_NETWORK = "10.87.{}"


class Unavailable(Exception):
    """Why there can be no hosts here."""


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=20)


@dataclass(frozen=True)
class Host:
    """One of them."""

    name: str
    address: str
    link: str
    """The end of its link that is on this machine's side."""

    @property
    def prefix(self) -> list[str]:
        """What makes a command run there."""
        return ["ip", "netns", "exec", self.name]

    def vanish(self) -> None:
        """From now on nothing comes from it and nothing goes to it."""
        _ip("link", "set", self.link, "down")

    def return_(self) -> None:
        """It is there again."""
        _ip("link", "set", self.link, "up")


class Network:
    """A bridge with hosts on it; everything is removed when it is left."""

    def __init__(self, hosts: int) -> None:
        self._number = os.getpid() % 250
        self._bridge = f"tm{self._number}"
        self._count = hosts
        self.address = f"{_NETWORK.format(self._number)}.1"
        self.hosts: list[Host] = []

    def __enter__(self) -> Network:
        """Raises Unavailable where there are no network namespaces, or not for us."""
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

"""A way to all brokers of a cluster that leads through proxies, one before each: what one machine's network is.

Whoever is told a way's address meets the proxies alone, since brokers advertise on each listener the port of its proxy.
So a way can be cut, slowed and broken for some clients while others go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tests.brokers import ports
from tests.brokers.proxy import Direction, Proxy


@dataclass(frozen=True)
class Way:
    """The proxies of one way, in the order of the nodes."""

    proxies: Sequence[Proxy]

    @classmethod
    def open(cls, nodes: int) -> Way:
        """A way to so many nodes, on ports that are reserved with it."""
        return cls([Proxy(("127.0.0.1", ports.reserve()), ports.reserve()) for _ in range(nodes)])

    def ports(self, node: int) -> tuple[int, int]:
        """The port that a node must listen on, and the one that it must tell clients."""
        return self.proxies[node].target[1], self.proxies[node].port

    @property
    def address(self) -> str:
        """What clients are told."""
        return ",".join(proxy.address for proxy in self.proxies)

    def cut(self, direction: Direction | Literal["both"] = "both") -> None:
        """Nothing arrives any more in this direction."""
        for proxy in self.proxies:
            proxy.cut(direction)

    def heal(self) -> None:
        """What was held arrives, and all goes on."""
        for proxy in self.proxies:
            proxy.heal()

    def delay(self, seconds: float) -> None:
        """Each byte takes so much longer; 0 ends it."""
        for proxy in self.proxies:
            proxy.delay(seconds)

    def close_connections(self) -> None:
        """Every connection is reset."""
        for proxy in self.proxies:
            proxy.close_connections()

    def close(self) -> None:
        """Ends it for good."""
        for proxy in self.proxies:
            proxy.close()
            ports.release(proxy.port)
            ports.release(proxy.target[1])

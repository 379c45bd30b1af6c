"""A route to all brokers of a cluster through proxies, one in front of each: the network of one client machine.

A client that bootstraps from the address of a route connects only to its proxies, since brokers advertise on each
listener the port of its proxy. So the network can fail for some clients and not for others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tests.brokers import ports
from tests.brokers.proxy import Direction, Proxy


@dataclass(frozen=True)
class Way:
    """The proxies of one route, in the order of the nodes."""

    proxies: Sequence[Proxy]

    @classmethod
    def open(cls, nodes: int) -> Way:
        """Open a route to this number of nodes, and reserve its ports."""
        return cls([Proxy(("127.0.0.1", ports.reserve()), ports.reserve()) for _ in range(nodes)])

    def ports(self, node: int) -> tuple[int, int]:
        """Return the port that a node must listen on, and the one that it must advertise."""
        return self.proxies[node].target[1], self.proxies[node].port

    @property
    def address(self) -> str:
        """The bootstrap address of clients that use this route."""
        return ",".join(proxy.address for proxy in self.proxies)

    def cut(self, direction: Direction | Literal["both"] = "both") -> None:
        """Hold all data in this direction until `heal`."""
        for proxy in self.proxies:
            proxy.cut(direction)

    def heal(self) -> None:
        """Deliver what was held, and forward normally again."""
        for proxy in self.proxies:
            proxy.heal()

    def delay(self, seconds: float) -> None:
        """Delay each byte by this time; 0 ends it."""
        for proxy in self.proxies:
            proxy.delay(seconds)

    def close_connections(self) -> None:
        """Reset every connection."""
        for proxy in self.proxies:
            proxy.close_connections()

    def close(self) -> None:
        """Stop the proxies."""
        for proxy in self.proxies:
            proxy.close()
            ports.release(proxy.port)
            ports.release(proxy.target[1])

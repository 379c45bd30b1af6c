"""What a worker inherits from its supervisor."""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass

__all__ = ["Inherited"]


@dataclass(frozen=True)
class Inherited:
    """The resources that a worker inherits from its supervisor."""

    web: socket.socket
    """The listening socket on which the supervisor scrapes the worker's metrics."""
    nudged: threading.Event
    """Set when another worker has ended and the group should be queried."""

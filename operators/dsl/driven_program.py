"""What `tm.testing.TopologyDriver` drives."""

from __future__ import annotations

from typing import Protocol

from ..graph.topology import Topology

__all__ = ["DrivenProgram"]


class DrivenProgram(Protocol):
    """What can be driven: an `App`."""

    @property
    def app_id(self) -> str: ...
    def topology(self) -> Topology: ...

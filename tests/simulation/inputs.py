"""Write the input topics of a program."""

from __future__ import annotations

from tidemill.engine.kafka.murmur2 import murmur2_partition

from .broker import Broker
from .programs import GAP, SESSIONS, Program, encoded
from .timed import Clocks
from .world import EPOCH, World

__all__ = ["Inputs"]


class Inputs:
    """Input records with the values 1, 2, 3 and so on."""

    def __init__(self, world: World, broker: Broker, program: Program, partitions: int, keys: int) -> None:
        self._world = world
        self._broker = broker
        self._program = program
        self._partitions = partitions
        self._keys = keys
        self._written = 0
        self._clocks = Clocks(world.random) if program.results else None

    def write(self) -> None:
        """Write one more record."""
        chance = self._world.random
        self._written += 1
        topic = chance.choice(self._program.inputs)
        key = f"k{chance.randrange(self._keys)}".encode()
        partition = (topic, murmur2_partition(key, self._partitions))
        late = chance.randint(0, 4 * GAP) if self._program.name == SESSIONS else 0
        time = EPOCH + self._world.now - late
        if self._clocks is not None:
            time = self._clocks.next(partition, self._written)
        self._broker.produce(None, partition, [(key, encoded(self._written), time, None)])

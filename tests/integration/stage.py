"""The environment of an integration test: a broker, topics of this test, and programs that use them.

All names start with the application id, so that tests do not interfere and everything can be removed at the end.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from confluent_kafka import TopicPartition

from tests.brokers import client
from tests.brokers.kafka import Kafka

from .program import Program

DURABILITY = os.environ.get("TIDEMILL_TEST_DURABILITY", "changelog")


class Stage:
    """Topics and programs of one test.

    `address`: the bootstrap address of the programs; default: the broker's. `durability`: that of all programs which do
    not set it themselves.
    """

    def __init__(
        self,
        kafka: Kafka,
        app_id: str,
        directory: Path,
        address: str | None = None,
        durability: str = DURABILITY,
    ) -> None:
        self.durability = durability
        self.kafka = kafka
        self.broker = kafka.bootstrap
        self.address = address or kafka.bootstrap
        self.app_id = app_id
        self.directory = directory
        self._programs: list[Program] = []

    def name(self, topic: str) -> str:
        """Return the full name of a topic of this test."""
        return f"{self.app_id}-{topic}"

    def topics(self, *names: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> None:
        """Create topics."""
        for name in names:
            client.create_topic(self.broker, self.name(name), partitions, config=config)

    def send(self, topic: str, rows: Iterable[client.Row | tuple[bytes | None, bytes | None]]) -> None:
        """Write records."""
        client.produce(self.broker, self.name(topic), rows)

    def delete_before(self, topic: str, offset: int) -> None:
        """Delete the records before an offset of partition 0, as retention does."""
        admin = client.admin(self.broker)
        [deleted] = admin.delete_records([TopicPartition(self.name(topic), 0, offset)]).values()
        deleted.result(30)

    def read(self, topic: str) -> list[client.Row]:
        """Return all committed records of a topic."""
        return client.read(self.broker, self.name(topic))

    def wait_for_rows(self, topic: str, count: int, timeout: float = 30.0) -> list[client.Row]:
        """Wait for this number of committed records in a topic, and return all of them."""

        def enough() -> list[client.Row]:
            rows = self.read(topic)
            return rows if len(rows) >= count else []

        return client.wait_for(enough, timeout, f"{count} records in {self.name(topic)}")

    def committed(self, topic: str) -> dict[int, int]:
        """Return the offset that the application committed for each partition of a topic."""
        return client.committed_offsets(self.broker, self.app_id, self.name(topic))

    def wait_until_committed(self, topic: str, timeout: float = 30.0) -> None:
        """Wait until the application has committed all records of a topic."""
        ends = client.end_offsets(self.broker, self.name(topic))
        client.wait_for(lambda: self.committed(topic) == ends, timeout, f"all of {self.name(topic)} to be committed")

    def internal(self) -> list[str]:
        """Return the internal topics of the application."""
        return sorted(
            name
            for name in client.topics(self.broker)
            if name.startswith(self.app_id) and name.endswith(("-changelog", "-repartition"))
        )

    def program(
        self,
        module: str | Path,
        *,
        variables: Mapping[str, str] | None = None,
        name: str | None = None,
        **settings: object,
    ) -> Program:
        """Return a program in `programs/`, or any other, with common settings for tests and the given ones."""
        program = Program(
            module,
            self.directory,
            {
                "app_id": self.app_id,
                "broker": self.address,
                "state_dir": self.directory / "state",
                "log_format": "json",
                **self._durability(),
                **settings,
            },
            {"TOPICS": self.app_id, **(variables or {})},
            name,
        )
        self._programs.append(program)
        return program

    def _durability(self) -> dict[str, object]:
        if self.durability == "changelog":
            return {}
        snapshots = f"file://{self.directory / 'snapshots'}"
        return {"durability": self.durability, "snapshots": snapshots, "snapshot_interval": "1s"}

    def close(self) -> None:
        """Stop all programs, and remove the topics from a shared broker."""
        for program in self._programs:
            program.close()
        if self.kafka.kind == "running":
            for name in client.topics(self.broker):
                if name.startswith(self.app_id):
                    client.delete_topic(self.broker, name)

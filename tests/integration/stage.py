"""What an integration test stands on: one broker, topics of its own, programs that run against them.

All names begin with the application id, so that tests do not meet and everything can be found again at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from confluent_kafka import TopicPartition

from tests.brokers import client
from tests.brokers.kafka import Kafka

from .program import Program


class Stage:
    """Topics and programs of one test. `address` is what the programs are told, the broker's own unless said."""

    def __init__(self, kafka: Kafka, app_id: str, directory: Path, address: str | None = None) -> None:
        self.kafka = kafka
        self.broker = kafka.bootstrap
        self.address = address or kafka.bootstrap
        self.app_id = app_id
        self.directory = directory
        self._programs: list[Program] = []

    def name(self, topic: str) -> str:
        """The full name of a topic of this test."""
        return f"{self.app_id}-{topic}"

    def topics(self, *names: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> None:
        """Makes topics."""
        for name in names:
            client.create_topic(self.broker, self.name(name), partitions, config=config)

    def send(self, topic: str, rows: Iterable[client.Row | tuple[bytes | None, bytes | None]]) -> None:
        """Writes records."""
        client.produce(self.broker, self.name(topic), rows)

    def delete_before(self, topic: str, offset: int) -> None:
        """Deletes what is before an offset of partition 0, as a broker does with records that are too old."""
        admin = client.admin(self.broker)
        [deleted] = admin.delete_records([TopicPartition(self.name(topic), 0, offset)]).values()
        deleted.result(30)

    def read(self, topic: str) -> list[client.Row]:
        """All committed records of a topic."""
        return client.read(self.broker, self.name(topic))

    def wait_for_rows(self, topic: str, count: int, timeout: float = 30.0) -> list[client.Row]:
        """The committed records of a topic, as soon as there are so many."""

        def enough() -> list[client.Row]:
            rows = self.read(topic)
            return rows if len(rows) >= count else []

        return client.wait_for(enough, timeout, f"{count} records in {self.name(topic)}")

    def committed(self, topic: str) -> dict[int, int]:
        """The next offset that the application committed for each partition of a topic."""
        return client.committed_offsets(self.broker, self.app_id, self.name(topic))

    def wait_until_committed(self, topic: str, timeout: float = 30.0) -> None:
        """Returns when the application has committed all that is in a topic."""
        ends = client.end_offsets(self.broker, self.name(topic))
        client.wait_for(lambda: self.committed(topic) == ends, timeout, f"all of {self.name(topic)} to be committed")

    def internal(self) -> list[str]:
        """The topics that the application made for itself."""
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
        """A program in `programs/`, or any other, with the settings every test wants and those given."""
        program = Program(
            module,
            self.directory,
            {
                "app_id": self.app_id,
                "broker": self.address,
                "state_dir": self.directory / "state",
                "log_format": "json",
                **settings,
            },
            {"TOPICS": self.app_id, **(variables or {})},
            name,
        )
        self._programs.append(program)
        return program

    def close(self) -> None:
        """Ends all programs; on a broker that stays, also removes the topics."""
        for program in self._programs:
            program.close()
        if self.kafka.kind == "running":
            for name in client.topics(self.broker):
                if name.startswith(self.app_id):
                    client.delete_topic(self.broker, name)

"""Subject name strategies: under which name the registry has the schemas of a topic.

The three of Confluent's serializers (`TopicNameStrategy`, `RecordNameStrategy`, `TopicRecordNameStrategy`).
"""

from __future__ import annotations

from typing import Literal, get_args

from ..errors import TopologyError

__all__ = ["Role", "Strategy", "check_strategy", "subject_of"]

Role = Literal["key", "value"]
Strategy = Literal["topic", "record", "topic_record"]


def check_strategy(strategy: str, name: str | None, serde: str) -> None:
    """Raise TopologyError unless it is a strategy, and there is the record name that it needs."""
    if strategy not in get_args(Strategy):
        raise TopologyError(f"{serde}: subject= is 'topic', 'record' or 'topic_record', not {strategy!r}")
    if strategy != "topic" and name is None:
        raise TopologyError(
            f"{serde}: subject={strategy!r} takes the name of the record, and there is none: give a model, or a schema "
            "with a name (in JSON Schema its title)"
        )


def subject_of(strategy: Strategy, topic: str, role: Role, name: str | None) -> str:
    """Return the subject of the keys or values of a topic; `name` is that of the record."""
    if strategy == "topic":
        return f"{topic}-{role}"
    return f"{topic}-{name}" if strategy == "topic_record" else str(name)

"""Topic settings that correctness depends on, and checks of a broker's settings. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from .plan import ANY_TIME, InternalTopic

__all__ = ["bounds_of_time", "misfits", "too_small"]

REASONS = {
    "repartition": "otherwise the broker may change or delete records that are not processed yet",
    "changelog": "otherwise the broker may delete state that is still needed",
    "shadow": "otherwise the broker may change or delete records that are not compared yet",
}


def misfits(topic: InternalTopic, found: Mapping[str, str]) -> str | None:
    """Return what is wrong with an internal topic's settings, with the command to correct it."""
    wanted = {name: value for name, value in required(topic).items() if not fits(name, found.get(name, value), value)}
    if not wanted:
        return None
    has = " and ".join(f"{name}={found[name]}" for name in wanted)
    must = " and ".join(f"{name}={value}" for name, value in wanted.items())
    added = ",".join(f"{name}=[{value}]" if "," in value else f"{name}={value}" for name, value in wanted.items())
    return (
        f"the {topic.kind} topic {topic.name!r} has {has}, but must have {must}: {REASONS[topic.kind]}. Correct it "
        f"with `kafka-configs --alter --entity-type topics --entity-name {topic.name} --add-config {added}`"
    )


def required(topic: InternalTopic) -> dict[str, str]:
    """Return the settings that a topic of this kind must have."""
    if topic.kind == "changelog":
        least = {"min.compaction.lag.ms": str(topic.uncompacted)} if topic.uncompacted else {}
        return {"cleanup.policy": "compact", **least}
    return {
        "cleanup.policy": "delete",
        "retention.ms": "-1",
        "retention.bytes": "-1",
        "message.timestamp.type": "CreateTime",
    }


def bounds_of_time(topic: InternalTopic, found: Mapping[str, str]) -> dict[str, str]:
    """Return settings that make an internal topic reject valid event times, with new values."""
    return {
        name: ANY_TIME[name]
        for name in ANY_TIME
        if name in topic.config and found.get(name, "") not in ("", ANY_TIME[name])
    }


def fits(name: str, found: str, wanted: str) -> bool:
    """Return whether a value is acceptable: a compaction lag may be longer than required."""
    if name == "min.compaction.lag.ms":
        return int(found) >= int(wanted)
    return found == wanted


def too_small(topic: str, found: Mapping[str, str], largest: int) -> str | None:
    """Return a warning if an output topic accepts smaller batches than the producer sends.

    `largest` is in bytes.
    """
    takes = found.get("max.message.bytes", "")
    if not takes.isdecimal() or int(takes) >= largest:
        return None
    return (
        f"the output topic {topic!r} accepts batches of up to {int(takes):,} bytes (max.message.bytes), the producer "
        f"sends up to {largest:,} (message.max.bytes): a larger record is rejected. Set both to the same value"
    )

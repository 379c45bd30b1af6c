"""The group metadata that confluent-kafka takes with `send_offsets_to_transaction`, for a membership of our own.

librdkafka's consumer gives it out as plain bytes; it has no other way to make it. The format is not documented, so
`check_format` compares ours with the library's own once a start, before anything depends on it.
"""

from __future__ import annotations

from functools import cache

from confluent_kafka import Consumer

from ..errors import Fatal

__all__ = ["check_format", "group_metadata"]


def group_metadata(group: str, generation: int, member: str, instance: str | None) -> bytes:
    """What `send_offsets_to_transaction` of confluent-kafka takes, for a membership that is not librdkafka's."""
    tail = b"\x01" if instance is None else b"\0" + instance.encode() + b"\0"
    return (
        b"CGMDv2:"
        + generation.to_bytes(4, "little", signed=True)
        + group.encode()
        + b"\0"
        + member.encode()
        + b"\0"
        + tail
    )


@cache
def check_format() -> None:
    """Raises Fatal when the installed client library writes group metadata otherwise than we do."""
    for instance in (None, "instance"):
        options = {"group.id": "group"} if instance is None else {"group.id": "group", "group.instance.id": instance}
        consumer = Consumer(options)
        try:
            theirs: object = consumer.consumer_group_metadata()
        finally:
            consumer.close()
        if theirs != group_metadata("group", -1, "", instance):
            raise Fatal(
                f"this version of confluent-kafka encodes group metadata in another way ({theirs!r}): install a "
                "version that Tidemill supports"
            )

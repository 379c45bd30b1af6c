"""The group metadata that confluent-kafka needs for `send_offsets_to_transaction`.

Tidemill has its own group membership, while the library can make the metadata only from its own consumer, as opaque
bytes. The format is not documented, so `check_format` compares this encoding with the library's once per start, before
anything depends on it.
"""

from __future__ import annotations

from functools import cache

from confluent_kafka import Consumer

from ..errors import Fatal

__all__ = ["check_format", "group_metadata"]


def group_metadata(group: str, generation: int, member: str, instance: str | None) -> bytes:
    """Encode group metadata as confluent-kafka does for a consumer with this membership."""
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
    """Raise Fatal if the installed client library encodes group metadata in a different way."""
    for instance in (None, "instance"):
        options = {"group.id": "group"} if instance is None else {"group.id": "group", "group.instance.id": instance}
        consumer = Consumer(options)
        try:
            encoded: object = consumer.consumer_group_metadata()
        finally:
            consumer.close()
        if encoded != group_metadata("group", -1, "", instance):
            raise Fatal(
                f"this version of confluent-kafka encodes group metadata in a different way ({encoded!r}): install a "
                "version that Tidemill supports"
            )

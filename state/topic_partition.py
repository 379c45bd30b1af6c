"""The identification of a partition of a topic."""

from __future__ import annotations

__all__ = ["TopicPartition"]

TopicPartition = tuple[str, int]
"""Topic and partition number: a plain tuple, because hot paths create and compare many of them."""

"""Numbered sales: the input of programs with sinks."""

from __future__ import annotations

import json
import random

__all__ = ["ITEMS", "Sales"]

ITEMS = ("pen", "ink", "pad", "cup", "jar")


class Sales:
    """Generates numbered sales; the event time is the number, in tenths of a second."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.made = 0
        self.all: list[tuple[int, str, int]] = []

    def record(self) -> tuple[bytes, bytes]:
        item, pieces = self._random.choice(ITEMS), self._random.randrange(9)
        sale = (self.made, item, pieces)
        self.all.append(sale)
        self.made += 1
        value = {"number": sale[0], "item": item, "pieces": pieces}
        return f"k{self.made % 50}".encode(), json.dumps(value).encode()

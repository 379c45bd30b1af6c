"""Generate the input: random transfers from a seed, numbered from 1 per sender."""

from __future__ import annotations

import random

import orjson

ACCOUNTS = 200


class Transfers:
    """Random transfers between accounts."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._accounts = [f"account-{number:03d}" for number in range(ACCOUNTS)]
        self._numbers = dict.fromkeys(self._accounts, 0)
        self.made = 0

    def record(self) -> tuple[bytes, bytes]:
        """Return the next transfer."""
        sender, receiver = self._random.sample(self._accounts, 2)
        self._numbers[sender] += 1
        self.made += 1
        transfer = {
            "sender": sender,
            "receiver": receiver,
            "number": self._numbers[sender],
            "amount": self._random.randrange(1, 1000),
        }
        return sender.encode(), orjson.dumps(transfer)

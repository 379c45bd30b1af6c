"""Transfers between accounts: the application under test.

For each transfer, a step in the task of its input partition writes a receipt, and checks that the numbers of each
sender are consecutive. It also becomes two entries, which go through a repartition topic to their accounts, where the
numbers of an account's payments must be consecutive too. A gap is a loss, a repetition a duplicate: both go to a
separate topic.
"""

import faulthandler
import os
import signal
from collections.abc import Iterator

import msgspec

import tidemill as tm

faulthandler.register(signal.SIGUSR1)  # a signal dumps the stacks of all threads, for debugging

topics = os.environ["TOPICS"]


class Transfer(msgspec.Struct):
    sender: str
    receiver: str
    number: int
    """The sender's transfers are numbered from 1."""
    amount: int


class Receipt(msgspec.Struct):
    number: int
    before: int
    """The number of the previous transfer."""


class Entry(msgspec.Struct):
    account: str
    id: str
    change: int
    number: int
    """The number of the transfer if this account has paid; else 0."""


class Statement(msgspec.Struct):
    id: str
    balance: int


class Receipts(tm.Processor[str, Transfer, Receipt]):
    last = tm.ValueState(int)

    def process(self, transfer: Transfer, ctx: tm.Context[str]) -> Iterator[Receipt | tm.Side[str]]:
        before = self.last.get() or 0
        self.last.set(transfer.number)
        yield Receipt(transfer.number, before)
        if transfer.number != before + 1:
            yield tm.side("faults", f"transfers of {ctx.key}: {transfer.number} came after {before}")


class Accounts(tm.Processor[str, Entry, Statement]):
    balance = tm.ValueState(int)
    paid = tm.ValueState(int)

    def process(self, entry: Entry, ctx: tm.Context[str]) -> Iterator[Statement | tm.Side[str]]:
        balance = (self.balance.get() or 0) + entry.change
        self.balance.set(balance)
        yield Statement(entry.id, balance)
        if entry.number:
            before = self.paid.get() or 0
            self.paid.set(entry.number)
            if entry.number != before + 1:
                yield tm.side("faults", f"entries of {ctx.key}: {entry.number} came after {before}")


def entries(transfer: Transfer) -> list[Entry]:
    of = f"{transfer.sender}:{transfer.number}"
    return [
        Entry(transfer.sender, f"{of}:out", -transfer.amount, transfer.number),
        Entry(transfer.receiver, f"{of}:in", transfer.amount, 0),
    ]


app = tm.App("chaos")

transfers = app.stream(f"{topics}-transfers", key=tm.utf8, value=tm.json(Transfer))
receipts = transfers.process(Receipts).named("receipts")
receipts.to(f"{topics}-receipts", key=tm.utf8, value=tm.json)
receipts.side("faults").to(f"{topics}-faults", key=tm.utf8, value=tm.utf8)

booked = transfers.flat_map(entries).with_key(lambda entry: entry.account, key=tm.utf8)
accounts = booked.repartition().process(Accounts).named("accounts")
accounts.to(f"{topics}-statements", key=tm.utf8, value=tm.json)
accounts.side("faults").to(f"{topics}-faults", key=tm.utf8, value=tm.utf8)

if __name__ == "__main__":
    app.main()

"""A processor: custom logic with state per key.

It warns when a card was used in two countries within an hour. State is scoped to the key of the current record, here
the card: a payment reads and writes only the state of its own card. State survives restarts, moves with its partition,
and is rolled back together with the results when a commit fails.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

import tidemill as tm


class Payment(msgspec.Struct):
    country: str
    amount: int


class Seen(msgspec.Struct):
    country: str
    at: int


HOUR = 3_600_000


class Travels(tm.Processor[str, Payment, str]):
    last = tm.ValueState(Seen)
    spent = tm.MapState(str, int)

    def process(self, payment: Payment, ctx: tm.Context[str]) -> Iterator[str | tm.Side[dict[str, Any]]]:
        before = self.last.get()
        if before is not None and before.country != payment.country and ctx.timestamp - before.at < HOUR:
            minutes = (ctx.timestamp - before.at) // 60_000
            yield f"card {ctx.key}: {before.country} and {payment.country} within {minutes} minutes"
        self.last.set(Seen(payment.country, ctx.timestamp))

        total = self.spent.get(payment.country, 0) + payment.amount
        self.spent[payment.country] = total
        if total > 1000:
            yield tm.side("large", {"country": payment.country, "spent": total})


app = tm.App("cards")

payments = app.stream("payments", key=tm.utf8, value=tm.json(Payment))
travels = payments.process(Travels).named("travels")
travels.to("warnings", value=tm.utf8)
travels.side("large").to("large-sums", value=tm.json)

if __name__ == "__main__":
    app.main()

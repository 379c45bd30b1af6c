"""A processor: logic of your own with state of its own, per key.

It warns when a card was used in two countries within an hour. The state is kept by key: `get` and `set` mean the card
of the payment at hand. It survives restarts, moves with its partition, and is rolled back together with the results
when a commit fails. With a `ttl` it is forgotten once that much event time has passed since it was last set.
"""

from collections.abc import Iterator

import msgspec

import tidemill as tm


class Payment(msgspec.Struct):
    country: str
    amount: int


class Seen(msgspec.Struct):
    country: str
    at: int


class Travels(tm.Processor[str, Payment, str]):
    last = tm.ValueState(Seen, ttl="1h")
    totals = tm.MapState(str, int)

    def process(self, payment: Payment, ctx: tm.ProcessorContext[str]) -> Iterator[str]:
        before = self.last.get()
        if before is not None and before.country != payment.country:
            minutes = (ctx.timestamp - before.at) // 60_000
            yield f"card {ctx.key}: {before.country} and {payment.country} within {minutes} minutes"
        self.last.set(Seen(payment.country, ctx.timestamp))

        spent = (self.totals.get(payment.country) or 0) + payment.amount
        self.totals.put(payment.country, spent)
        if spent > 1000:
            yield tm.side("large", {"country": payment.country, "spent": spent})


app = tm.App("cards")

payments = app.stream("payments", key=tm.utf8, value=tm.json(Payment))
travels = payments.process(Travels).named("travels")
travels.to("warnings", value=tm.utf8)
travels.side("large").to("large-sums", value=tm.json)

if __name__ == "__main__":
    app.main()

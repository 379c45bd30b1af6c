"""Enrichment over HTTP: concurrent calls of a coroutine function, in order and exactly once.

Amounts in any currency are converted to euros at rates from an HTTP service. A failed request is retried; an order
without a rate stops the program, which is the default of `on_error`. Records that wait for a response are part of the
state of the step: after a crash or a move to another process none is lost, and each has exactly one result.
"""

import os

import aiohttp
import msgspec

import tidemill as tm

RATES = os.environ.get("RATES_URL", "http://localhost:8000")


class Order(msgspec.Struct):
    item: str
    amount: float
    currency: str


class Priced(msgspec.Struct):
    item: str
    euros: float


class InEuros:
    """Request the rate of an order; entered before the first call and exited at the end."""

    async def __aenter__(self) -> "InEuros":
        self.session = aiohttp.ClientSession(raise_for_status=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    async def __call__(self, order: Order) -> Priced:
        async with self.session.get(f"{RATES}/{order.currency}") as response:
            rate = (await response.json())["euros"]
        return Priced(order.item, round(order.amount * rate, 2))


app = tm.App("orders-in-euros")

orders = app.stream("orders", key=tm.utf8, value=tm.json(Order))
priced = orders.map_async(InEuros(), in_flight=20, timeout="2s", retries=3).named("in-euros")
priced.to("priced-orders")

if __name__ == "__main__":
    app.main()

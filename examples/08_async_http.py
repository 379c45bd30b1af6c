"""Enrichment by HTTP: a coroutine function for each record, many at a time, order and exactly-once kept.

Orders in any currency get their amount in euros, by rates that a service knows. A request that fails is made again; an
order for which there is no rate stops the program, as `on_error` says nothing else. Records that wait for their answer
are part of the step's state: a crash or a move to another process loses none and doubles none.
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
    """Asks for the rate. It is entered before the first call and exited at the end."""

    async def __aenter__(self) -> "InEuros":
        self.session = aiohttp.ClientSession(raise_for_status=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    async def __call__(self, order: Order) -> Priced:
        async with self.session.get(f"{RATES}/{order.currency}") as answer:
            rate = (await answer.json())["euros"]
        return Priced(order.item, round(order.amount * rate, 2))


app = tm.App("orders-in-euros")

orders = app.stream("orders", key=tm.utf8, value=tm.json(Order))
priced = orders.map_async(InEuros(), in_flight=20, timeout="2s", retries=3).named("in-euros")
priced.to("priced-orders")

if __name__ == "__main__":
    app.main()

"""Charges each order by HTTP, with the idempotency key of the call."""

import os
from typing import Any

import aiohttp

import tidemill as tm


class Charge:
    """A session, held while the process runs."""

    async def __aenter__(self) -> "Charge":
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def __call__(self, order: int, call: tm.CallContext) -> Any:
        headers = {"Idempotency-Key": call.key}
        async with self._session.post(os.environ["CHARGES"], json=order, headers=headers) as answer:
            answer.raise_for_status()
            return {"order": order, "receipt": await answer.json(content_type=None)}


app = tm.App("charges")
orders = app.stream(f"{os.environ['TOPICS']}-orders", key=tm.utf8, value=tm.json)
charged = orders.map_async(
    Charge(),
    journal=True,
    in_flight=20,
    retries=20,
    rate_limit="400/s",
    circuit_breaker=tm.CircuitBreaker(failures=5, wait="1s"),
    value=tm.json,
).named("charged")
charged.to(f"{os.environ['TOPICS']}-receipts", key=tm.utf8, value=tm.json)

if __name__ == "__main__":
    app.main()

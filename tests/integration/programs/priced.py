"""Join orders with the price of their item from a global table."""

import os

import msgspec

import tidemill as tm

topics = os.environ["TOPICS"]


class Order(msgspec.Struct):
    item: str
    number: int


app = tm.App("priced", on_error=tm.skip if os.environ.get("ON_ERROR") == "skip" else tm.fail)

prices = app.global_table(f"{topics}-prices", key=tm.utf8, value=tm.json(int), name="prices")
orders = app.stream(f"{topics}-orders", key=tm.utf8, value=tm.json(Order))
priced = orders.join(prices, lambda order, price: [order.number, price], on=lambda order: order.item, how="left")
priced.named("price").to(f"{topics}-priced", key=tm.utf8, value=tm.json)

if __name__ == "__main__":
    app.main()

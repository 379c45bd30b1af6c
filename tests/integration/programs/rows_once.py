"""A join that stores the rows of its table in the first version, and reads them where they are in the second."""

import os

import tidemill as tm

topics = os.environ["TOPICS"]

app = tm.App("once")
prices = app.table(f"{topics}-prices", key=tm.utf8, value=tm.json).named("prices")
prices.to(f"{topics}-seen", key=tm.utf8, value=tm.json)
rows = prices.filter(lambda cents: True) if os.environ["VERSION"] == "1" else prices
orders = app.stream(f"{topics}-orders", key=tm.utf8, value=tm.json)
worth = orders.join(rows, lambda number, cents: [number, cents], how="left").named("worth")
worth.to(f"{topics}-worth", key=tm.utf8, value=tm.json)

if __name__ == "__main__":
    app.main()

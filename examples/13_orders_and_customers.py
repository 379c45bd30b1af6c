"""Change data capture: tables that mirror a database, joined by foreign key and counted.

Each topic has the newest row per primary key, and null for a deleted row, as Debezium and similar tools write them. An
order refers to its customer by number. The joined table follows changes of both: an update of a customer updates the
rows of all orders of that customer; an update or deletion of an order updates or deletes its row. The second table
counts unpaid orders per country; an update subtracts the old row and adds the new one.
"""

import msgspec

import tidemill as tm


class Customer(msgspec.Struct):
    name: str
    country: str


class Order(msgspec.Struct):
    customer: int
    item: str
    paid: bool = False


class Row(msgspec.Struct):
    item: str
    paid: bool
    name: str
    country: str


def joined(order: Order, customer: Customer) -> Row:
    return Row(order.item, order.paid, customer.name, customer.country)


app = tm.App("orders")

customers = app.table("customers", key=tm.int64, value=tm.json(Customer))
orders = app.table("orders", key=tm.int64, value=tm.json(Order))

rows = orders.join(customers, on=lambda order: order.customer, function=joined).named("rows")
rows.to("orders-with-customers", value=tm.json(Row))

unpaid = rows.filter(lambda row: not row.paid).group_by(lambda row: row.country).count().named("unpaid")
unpaid.to("unpaid-by-country", key=tm.utf8, value=tm.json)

if __name__ == "__main__":
    app.main()

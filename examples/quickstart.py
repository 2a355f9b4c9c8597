"""A small shop on MongoDB: plain PyMongo, and one span of its own around the work.

Nothing here instruments PyMongo; `opentelemetry-instrument python examples/quickstart.py` does.
It uses the database `quickstart` of the server at `$MONGODB_URI`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from pymongo import MongoClient
from pymongo.errors import DuplicateKeyError

if TYPE_CHECKING:
    from pymongo.collection import Collection

Order = dict[str, Any]

tracer = trace.get_tracer("quickstart")


def take_orders(orders: Collection[Order]) -> None:
    """Insert one order, then 250 more."""
    orders.insert_one({"_id": 0, "customer": "ada@example.com", "total": 120})
    more = ({"_id": n, "customer": f"customer-{n % 7}", "total": n} for n in range(1, 251))
    orders.insert_many(list(more))


def count_large_orders(orders: Collection[Order]) -> int:
    """Read the orders in several batches."""
    return len(list(orders.find({"total": {"$gte": 10}}, batch_size=100)))


def best_customer(orders: Collection[Order]) -> str:
    """Let the server add up the orders of each customer."""
    totals = {"$group": {"_id": "$customer", "total": {"$sum": "$total"}}}
    [best] = orders.aggregate([totals, {"$sort": {"total": -1}}, {"$limit": 1}])
    return str(best["_id"])


def pay(orders: Collection[Order], order_id: int) -> None:
    """Update one order."""
    orders.update_one({"_id": order_id}, {"$set": {"paid": True}})


def take_twice(orders: Collection[Order]) -> None:
    """Try to insert an order that is there already."""
    try:
        orders.insert_one({"_id": 0, "customer": "ada@example.com"})
    except DuplicateKeyError:
        print("Order 0 was taken before, as expected.")


def main() -> None:
    """Serve the shop's customers once."""
    uri = os.environ.get("MONGODB_URI", "mongodb://localhost:27017")
    client: MongoClient[Order] = MongoClient(uri)
    with tracer.start_as_current_span("quickstart"), client:
        orders = client["quickstart"]["orders"]
        orders.drop()
        take_orders(orders)
        print(f"{count_large_orders(orders)} orders of 10 or more.")
        print(f"The best customer is {best_customer(orders)}.")
        pay(orders, 0)
        take_twice(orders)


if __name__ == "__main__":
    main()

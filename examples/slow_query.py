"""A query that is slow for want of an index, and the same query with one: `--with-index`.

Plain PyMongo, and one span of its own around the query. With `explain_slower_than` the trace says
what the server did:

    OTEL_PYTHON_MONGO_APM_EXPLAIN_SLOWER_THAN=0 opentelemetry-instrument python slow_query.py

It uses the database `slow_query` of the server at `$MONGODB_URI`.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.instrumentation.utils import suppress_instrumentation
from pymongo import MongoClient

if TYPE_CHECKING:
    from pymongo.collection import Collection

Order = dict[str, Any]

ORDERS = 20_000
INDEX = [("customer", 1), ("total", -1)]
# The server is asked for the plan afterwards, in seconds.
PATIENCE = 1.5

tracer = trace.get_tracer("slow_query")


def fill(orders: Collection[Order]) -> None:
    """Take orders of a hundred customers; nobody traces that."""
    with suppress_instrumentation():
        orders.drop()
        orders.insert_many([{"customer": n % 100, "total": n * 7 % 1000} for n in range(ORDERS)])


def largest_orders(orders: Collection[Order], customer: int) -> list[Order]:
    """The orders of a customer, the largest first."""
    return list(orders.find({"customer": customer}).sort("total", -1))


def main() -> None:
    """Ask for a customer's orders once."""
    has_index = "--with-index" in sys.argv[1:]
    uri = os.environ.get("MONGODB_URI", "mongodb://localhost:27017")
    client: MongoClient[Order] = MongoClient(uri)
    with client:
        orders = client["slow_query"]["orders"]
        fill(orders)
        if has_index:
            with suppress_instrumentation():
                orders.create_index(INDEX)
        with tracer.start_as_current_span("with an index" if has_index else "without an index"):
            found = largest_orders(orders, 42)
        print(f"{len(found)} orders, {'with' if has_index else 'without'} an index.")
        time.sleep(PATIENCE)


if __name__ == "__main__":
    main()

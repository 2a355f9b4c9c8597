"""A small shop with many customers at a time: PyMongo's AsyncMongoClient, one span per request.

Nothing here instruments PyMongo; `opentelemetry-instrument python examples/asyncio_client.py` does.
It uses the database `asyncio_client` of the server at `$MONGODB_URI`.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from pymongo import AsyncMongoClient, ReturnDocument

if TYPE_CHECKING:
    from pymongo.asynchronous.database import AsyncDatabase

Document = dict[str, Any]

CUSTOMERS = [f"customer-{number}@example.com" for number in range(20)]
BOOKS = ["Emma", "Dracula", "Ulysses"]
COPIES = 5

tracer = trace.get_tracer("asyncio_client")


async def stock(shop: AsyncDatabase[Document]) -> None:
    """Put a few copies of each book on the shelf."""
    with tracer.start_as_current_span("stock"):
        await shop["orders"].drop()
        await shop["books"].drop()
        await shop["books"].insert_many([{"_id": book, "copies": COPIES} for book in BOOKS])


async def order(shop: AsyncDatabase[Document], customer: str, book: str) -> bool:
    """Serve one customer, if there is a copy left."""
    with tracer.start_as_current_span("order", attributes={"book": book}):
        left = await shop["books"].find_one_and_update(
            {"_id": book, "copies": {"$gt": 0}},
            {"$inc": {"copies": -1}},
            return_document=ReturnDocument.AFTER,
        )
        if left is None:
            return False
        await shop["orders"].insert_one({"customer": customer, "book": book})
        return True


async def bill(shop: AsyncDatabase[Document]) -> list[str]:
    """Read all orders, in batches."""
    with tracer.start_as_current_span("bill"):
        orders = shop["orders"].find(batch_size=10)
        return [str(order["customer"]) async for order in orders]


async def main() -> None:
    """Let all customers in at once."""
    uri = os.environ.get("MONGODB_URI", "mongodb://localhost:27017")
    client: AsyncMongoClient[Document] = AsyncMongoClient(uri)
    async with client:
        shop = client["asyncio_client"]
        await stock(shop)
        wishes = [
            (customer, BOOKS[number % len(BOOKS)]) for number, customer in enumerate(CUSTOMERS)
        ]
        served = await asyncio.gather(*(order(shop, *wish) for wish in wishes))
        print(f"{sum(served)} of {len(served)} customers have their book.")
        print(f"{len(await bill(shop))} bills are to be sent.")


if __name__ == "__main__":
    asyncio.run(main())

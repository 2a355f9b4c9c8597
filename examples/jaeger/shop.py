"""A book shop on the web: FastAPI and PyMongo's AsyncMongoClient.

Nothing here knows of OpenTelemetry; `opentelemetry-instrument python shop.py` does. It
serves on `$PORT` from the database `shop` at `$MONGODB_URI`.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from pymongo import AsyncMongoClient
from pymongo.errors import DuplicateKeyError, PyMongoError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pymongo.asynchronous.database import AsyncDatabase

Document = dict[str, Any]

BOOKS = ("Dracula", "Emma", "Ulysses")
COPIES = 1_000_000
OK, CREATED, NOT_FOUND, CONFLICT, UNAVAILABLE = 200, 201, 404, 409, 503


@asynccontextmanager
async def connected(application: FastAPI) -> AsyncIterator[None]:
    """Have a client in the process that serves, and books on the shelf."""
    uri = os.environ.get("MONGODB_URI", "mongodb://localhost:27017")
    client: AsyncMongoClient[Document] = AsyncMongoClient(uri)
    async with client:
        application.state.shop = client["shop"]
        await open_shop(client["shop"])
        yield


application = FastAPI(title="shop", lifespan=connected)


async def open_shop(shop: AsyncDatabase[Document]) -> None:
    """Begin with many books and no orders."""
    await shop["books"].drop()
    await shop["orders"].drop()
    await shop["orders"].create_index("customer")
    await shop["books"].insert_many([{"_id": book, "copies": COPIES} for book in BOOKS])


@application.get("/books")
async def list_books(request: Request) -> list[Document]:
    """Show what is on the shelf."""
    return [book async for book in _shop(request)["books"].find({})]


@application.put("/orders/{number}", status_code=CREATED)
async def take_order(request: Request, number: int, customer: str, book: str) -> Document:
    """Take a copy off the shelf, and remember who is to have it."""
    shop = _shop(request)
    taken = await shop["books"].find_one_and_update(
        {"_id": book, "copies": {"$gt": 0}}, {"$inc": {"copies": -1}}
    )
    if taken is None:
        raise HTTPException(NOT_FOUND, f"There is no copy of {book}.")
    order = {"_id": number, "customer": customer, "book": book}
    await shop["orders"].insert_one(order)
    return order


@application.get("/orders")
async def list_orders(request: Request, customer: str) -> list[Document]:
    """Show a customer's orders, in batches from the server."""
    orders = _shop(request)["orders"].find({"customer": customer}, limit=50, batch_size=20)
    return [order async for order in orders]


@application.get("/bestsellers")
async def list_bestsellers(request: Request) -> list[Document]:
    """Let the server count the orders of each book."""
    count = {"$group": {"_id": "$book", "orders": {"$sum": 1}}}
    ranking = await _shop(request)["orders"].aggregate([count, {"$sort": {"orders": -1}}])
    return [book async for book in ranking]


@application.exception_handler(DuplicateKeyError)
async def refuse(_: Request, __: Exception) -> Response:
    """Say that there is an order with this number."""
    return JSONResponse({"detail": "This order has been taken."}, CONFLICT)


@application.exception_handler(PyMongoError)
async def apologize(_: Request, error: Exception) -> Response:
    """Say that the database is not there, or busy."""
    return JSONResponse({"detail": type(error).__name__}, UNAVAILABLE)


def _shop(request: Request) -> AsyncDatabase[Document]:
    shop: AsyncDatabase[Document] = request.app.state.shop
    return shop


def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    # uvicorn raises the signal again when it is done. By default that ends the process on the spot,
    # and with it the spans that have not been sent yet.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    host, port = os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8000"))
    uvicorn.run(application, host=host, port=port, log_level="warning")


if __name__ == "__main__":
    main()

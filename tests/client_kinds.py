"""The kinds of clients there are, under one interface: what is written once runs with each."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

import pymongo
import pytest
from versions import needs_async

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


async def settle(value: Any) -> Any:
    """What a call has come to: an asynchronous client's is yet to be awaited."""
    return await value if inspect.isawaitable(value) else value


async def documents(cursor: Any) -> list[Any]:
    """All that a cursor of any kind has left."""
    if hasattr(type(cursor), "__aiter__"):
        return [document async for document in cursor]
    return list(cursor)


async def next_document(cursor: Any) -> Any:
    """The next document of a cursor of any kind; `StopAsyncIteration` if there is none."""
    if hasattr(type(cursor), "__anext__"):
        return await cursor.__anext__()
    try:
        return next(cursor)
    except StopIteration:  # A coroutine must not raise that.
        raise StopAsyncIteration from None


class SyncClients:
    """`MongoClient`, outside of any event loop."""

    def make(self, *args: Any, **kwargs: Any) -> Any:
        return pymongo.MongoClient(*args, **kwargs)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run what is written for all kinds; with this one there is nothing to wait for."""
        try:
            work.send(None)
        except StopIteration as finished:
            return finished.value
        work.close()
        message = "This client awaits nothing."
        raise AssertionError(message)

    def callback(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
        """A function for the client to call."""
        return lambda *_: self.run(work())


class AsyncClients:
    """`AsyncMongoClient`, in an event loop of its own."""

    def make(self, *args: Any, **kwargs: Any) -> Any:
        return pymongo.AsyncMongoClient(*args, **kwargs)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run(work)

    def callback(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
        return lambda *_: work()


class MotorClients(AsyncClients):
    """Motor's client, in an event loop of its own."""

    def make(self, *args: Any, **kwargs: Any) -> Any:
        motor = pytest.importorskip("motor.motor_asyncio", exc_type=ImportError)
        return motor.AsyncIOMotorClient(*args, **kwargs)


ClientKind = SyncClients | AsyncClients

KINDS = [
    pytest.param(SyncClients(), id="sync"),
    pytest.param(AsyncClients(), id="async", marks=needs_async),
    pytest.param(MotorClients(), id="motor"),
]
of_each_kind = pytest.mark.parametrize("kind", KINDS)

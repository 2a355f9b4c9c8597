"""The MongoDB that applications work with in the benchmarks."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import local_mongodb
from pymongo import MongoClient
from worker import DOCUMENTS

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def filled_mongodb() -> Iterator[str]:
    """Fill the user's own MongoDB, or one that is started, and give its URI."""
    with ExitStack() as stack:
        uri = os.environ.get("MONGODB_URI")
        if not uri:
            uri = stack.enter_context(local_mongodb.standalone()).uri
        with MongoClient(uri) as client:
            fill(client)
        yield uri


def fill(client: MongoClient[Any]) -> None:
    """Have the documents there that applications read, and nothing else."""
    client.drop_database("benchmark")
    client.benchmark.users.insert_many(
        {"_id": number, "name": "Alice", "age": 30} for number in range(DOCUMENTS)
    )

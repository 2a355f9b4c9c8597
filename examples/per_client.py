"""A shop with three clients of which two are instrumented, each in its own way.

Run it under `opentelemetry-instrument` with `OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=mongo_apm`,
so that nobody instruments all three. It uses the database `per_client` of the server at
`$MONGODB_URI`.
"""

from __future__ import annotations

import os
from typing import Any

from opentelemetry import trace
from pymongo import MongoClient

from otel_mongo_apm import event_listeners, instrument_client

Document = dict[str, Any]
Client = MongoClient[Document]

tracer = trace.get_tracer("per_client")


def shop_client(uri: str) -> Client:
    """Make a client with listeners of its own; its commands are shown without their values."""
    return MongoClient(uri, event_listeners=event_listeners(exclude_commands=["drop"]))


def library_client(uri: str) -> Client:
    """Have a client from a library that has never heard of telemetry, and instrument it.

    A warning says what of it cannot be seen, since it has begun to connect.
    """
    client: Client = MongoClient(uri)
    instrument_client(client, query_text="off")
    return client


def private_client(uri: str) -> Client:
    """Make a client that nobody sees."""
    return MongoClient(uri)


def main() -> None:
    """Use all three."""
    uri = os.environ.get("MONGODB_URI", "mongodb://localhost:27017")
    with shop_client(uri) as shop, library_client(uri) as library, private_client(uri) as private:
        orders = shop["per_client"]["orders"]
        with tracer.start_as_current_span("order"):
            orders.drop()
            orders.insert_one({"_id": 1, "customer": "ada@example.com"})
            found = library["per_client"]["orders"].count_documents({"_id": 1})
            private["per_client"]["orders"].delete_one({"_id": 1})
        print(f"{found} order was taken, and nobody saw who deleted it.")


if __name__ == "__main__":
    main()

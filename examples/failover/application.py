"""A shop that never closes: plain PyMongo, and one span of its own around each request.

Nothing here instruments PyMongo; `opentelemetry-instrument python application.py` does. It serves
until it is asked to end, from the database `failover` of the replica set at `$MONGODB_URI`.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from pymongo import MongoClient, ReadPreference
from pymongo.errors import PyMongoError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.collection import Collection

Order = dict[str, Any]

SIGNALS = (signal.SIGTERM, signal.SIGINT)
WRITERS = 6
READERS = 2
PAUSE = 0.02  # Seconds between a thread's requests.
LINES_PER_ORDER = 50

tracer = trace.get_tracer("failover")
logger = logging.getLogger("application")


def take_order(orders: Collection[Order]) -> None:
    """Write."""
    lines = [{"product": f"product-{n}", "pieces": n} for n in range(LINES_PER_ORDER)]
    orders.insert_one({"customer": "ada@example.com", "lines": lines})


def list_orders(orders: Collection[Order]) -> None:
    """Read, from a secondary if there is one."""
    nearby = orders.with_options(read_preference=ReadPreference.SECONDARY_PREFERRED)
    list(nearby.find({}, {"customer": 1}, limit=20))


def serve(request: Callable[[Collection[Order]], None], orders: Collection[Order]) -> None:
    """Handle one request; one that fails is not the last."""
    try:
        with tracer.start_as_current_span(request.__name__.replace("_", " ")):
            request(orders)
    except PyMongoError as error:
        logger.error("A request failed: %s", type(error).__name__)  # noqa: TRY400


def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    # One write each, as the exporters write to the same stream from other threads.
    logging.basicConfig(stream=sys.stdout, format="%(levelname)-7s %(message)s")
    logger.setLevel(logging.INFO)
    ending = threading.Event()

    def end(*_: object) -> None:
        for number in SIGNALS:  # A second one that came while it is being set would wait for it.
            signal.signal(number, signal.SIG_IGN)
        ending.set()

    for number in SIGNALS:
        signal.signal(number, end)

    def serve_on(request: Callable[[Collection[Order]], None]) -> None:
        while not ending.wait(PAUSE):
            serve(request, orders)

    # It checks its servers more often than every 10 seconds: a demonstration is short.
    client: MongoClient[Order] = MongoClient(os.environ["MONGODB_URI"], heartbeatFrequencyMS=1000)
    with client, ThreadPoolExecutor(WRITERS + READERS) as threads:
        orders = client["failover"]["orders"]
        logger.info("Serving: %d threads write, %d read.", WRITERS, READERS)
        requests = [take_order] * WRITERS + [list_orders] * (READERS - 1)
        serving = [threads.submit(serve_on, request) for request in requests]
        serve_on(list_orders)  # A main thread that only waits may miss a signal.
        for served in serving:
            served.result()


if __name__ == "__main__":
    main()

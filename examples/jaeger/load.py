"""Customers of the book shop: several at a time, until Ctrl-C or for as long as is asked.

$ python load.py --url http://localhost:8000 --customers 8 --seconds 60
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BOOKS = ("Dracula", "Emma", "Ulysses")
CUSTOMERS = 8
PAUSE = 0.02  # Seconds between the requests of a customer.
PATIENCE = 60.0  # Seconds for a reply; a shop without its database makes one wait for 30.
TWICE_EVERY = 10  # Each tenth order is sent again.


class Load:
    """What several customers do, and how they were answered.

    Args:
        url: Where the shop is.
        pause: How many seconds a customer waits between two requests.
    """

    def __init__(self, url: str, pause: float = PAUSE) -> None:
        self.replies: Counter[str] = Counter()
        self._url = url
        self._pause = pause
        self._numbers = itertools.count(time.time_ns())  # Of orders; none comes twice.
        self._ending = threading.Event()

    def run(self, customers: int, seconds: float | None = None) -> None:
        """Send requests for so long, or until it is closed."""
        with ThreadPoolExecutor(customers) as threads, contextlib.closing(self):
            for number in range(customers):
                threads.submit(self._visit, f"customer-{number}@example.com")
            self._ending.wait(seconds)

    def close(self) -> None:
        """Send no more requests."""
        self._ending.set()

    def _visit(self, customer: str) -> None:
        for method, path, query in self._wishes(customer):
            self.replies[
                f"{method} {path.partition('/')[0]} {self._send(method, path, query)}"
            ] += 1
            if self._ending.wait(self._pause):
                return

    def _wishes(self, customer: str) -> Iterator[tuple[str, str, Mapping[str, str]]]:
        for book in itertools.cycle(BOOKS):
            number = next(self._numbers)
            order = f"orders/{number}", {"customer": customer, "book": book}
            yield "GET", "books", {}
            yield "PUT", *order
            if number % TWICE_EVERY == 0:
                yield "PUT", *order
            yield "GET", "orders", {"customer": customer}
            yield "GET", "bestsellers", {}

    def _send(self, method: str, path: str, query: Mapping[str, str]) -> str:
        url = f"{self._url}/{path}?{urllib.parse.urlencode(query)}"
        request = urllib.request.Request(url, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as reply:  # noqa: S310
                json.load(reply)
                return str(reply.status)
        except urllib.error.HTTPError as error:
            return str(error.code)
        except OSError as error:
            return type(error).__name__


def main() -> None:
    """Send requests; then say how they were answered."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--url", default="http://localhost:8000")
    parser.add_argument("--customers", type=int, default=CUSTOMERS)
    parser.add_argument("--pause", type=float, default=PAUSE)
    parser.add_argument("--seconds", type=float)
    arguments = parser.parse_args()
    load = Load(arguments.url, arguments.pause)
    with contextlib.suppress(KeyboardInterrupt):
        load.run(arguments.customers, arguments.seconds)
    for reply, number in sorted(load.replies.items()):
        print(f"{number:8,}  {reply}")


if __name__ == "__main__":
    main()

"""Many threads, all at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

THREADS = 64


def at_once(work: Callable[[int], None], number: int = THREADS) -> None:
    """Let each of so many threads do some work, all beginning together."""
    line = threading.Barrier(number)

    def each(which: int) -> None:
        line.wait()
        work(which)

    with ThreadPoolExecutor(number) as threads:
        list(threads.map(each, range(number)))

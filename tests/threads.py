"""Many threads, all at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

THREADS = 64


def at_once(work: Callable[[int], None]) -> None:
    """Let each thread do some work, all beginning together."""
    line = threading.Barrier(THREADS)

    def each(number: int) -> None:
        line.wait()
        work(number)

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(each, range(THREADS)))

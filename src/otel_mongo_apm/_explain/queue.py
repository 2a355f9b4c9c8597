"""The queue of slow commands to explain, and the thread that processes it."""

from __future__ import annotations

import contextvars
import os
import threading
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

MAX_WAITING = 100
MAX_SHAPES = 1_000
# Seconds after which another command of the same shape may be explained.
SHAPE_INTERVAL = 600.0
# The maximum number of explanations, and the period for it in seconds.
MAX_PER_MINUTE = 10
MINUTE = 60.0
# Seconds that the thread waits for another command before it ends.
IDLE = 1.0


class Explanations:
    """The commands that this process wants explained."""

    def __init__(self) -> None:
        self.start_anew()

    def start_anew(self) -> None:
        """Clear the queue; a forked child does not have the thread."""
        # Reentrant, because a signal handler may send a slow command while the lock is held.
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._waiting: deque[Callable[[], object]] = deque()
        self._asked: deque[float] = deque(maxlen=MAX_PER_MINUTE)
        self._shapes: dict[Hashable, float] = {}
        self._thread: threading.Thread | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def admits(self, shape: Hashable) -> bool:
        """Whether a command of a shape may be explained: not if one was explained recently."""
        now = monotonic()
        with self._lock:
            asked = self._shapes.get(shape)
            if asked is not None and now - asked < SHAPE_INTERVAL:
                return False
            if len(self._shapes) >= MAX_SHAPES:  # Clearing is cheaper than tracking the oldest.
                self._shapes.clear()
            self._shapes[shape] = now
        return True

    def forget(self, shape: Hashable) -> None:
        """Allow the next command of a shape to be explained, because this one was not."""
        with self._lock:
            self._shapes.pop(shape, None)

    def add(self, ask: Callable[[], object]) -> bool:
        """Queue a function for the thread; return False if that is not possible.

        Args:
            ask: The function. It returns whether it has asked a server, which the limit counts.
        """
        with self._lock:
            if len(self._waiting) >= MAX_WAITING:
                return False
            self._waiting.append(ask)
            if self._thread is None and not self._start():
                self._waiting.clear()
                return False
        self._wake.set()
        return True

    def _start(self) -> bool:
        # With a context of its own: Python 3.14 may let a thread inherit one, and a
        # `pymongo.timeout()` of the application with it.
        thread = threading.Thread(
            target=contextvars.Context().run,
            args=(self._work,),
            name="otel_mongo_apm_explain",
            daemon=True,
        )
        try:
            thread.start()
        except RuntimeError:  # There are too many threads, or the interpreter ends.
            return False
        self._thread = thread
        return True

    def _work(self) -> None:
        while ask := self._next():
            self._pace()
            if ask():
                self._asked.append(monotonic())
            del ask  # Do not keep its command alive while the thread waits.

    def _next(self) -> Callable[[], object] | None:
        self._wake.clear()
        if not self._waiting:
            self._wake.wait(IDLE)
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._thread = None
            return None

    def _pace(self) -> None:
        """Wait until the limit of explanations per minute allows another one."""
        if len(self._asked) == MAX_PER_MINUTE:
            wait = MINUTE - (monotonic() - self._asked[0])
            if wait > 0:
                threading.Event().wait(wait)


explanations = Explanations()

if hasattr(os, "register_at_fork"):  # Not on Windows.
    os.register_at_fork(after_in_child=explanations.start_anew)

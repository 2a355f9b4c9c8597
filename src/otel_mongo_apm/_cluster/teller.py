"""A thread of our own that tells what happened in the clusters.

Telling runs other people's code: log handlers, samplers, span and log record processors. This code
may be slow, or wait for MongoDB itself. So it must not run on PyMongo's monitors or in a caller
that waits for a server.
"""

from __future__ import annotations

import atexit
import contextlib
import contextvars
import os
import threading
import time
from typing import Protocol

from otel_mongo_apm._otel.shield import quietly_shielded

THREAD_NAME = "otel_mongo_apm_teller"
# In seconds. The driver changes a description shortly after it publishes the event.
LINGER = 1.0
NAP = 0.05
# At the interpreter's exit, how many seconds to wait for the thread to finish telling.
LAST_WAIT = 1.0


class Tellable(Protocol):
    """A cluster that may have changes to tell."""

    def tell(self) -> None:
        """Tell the changes, unless another thread is telling them."""


class Teller:
    """Tells changes of clusters in a thread that starts when it is needed and ends on its own.

    No method waits for a lock, because monitors and signal handlers may call them.
    """

    def __init__(self) -> None:
        self.start_anew()

    def start_anew(self) -> None:
        """Reset everything; a forked child has no such thread, and nothing to tell."""
        # For each cluster, the monotonic time until which the thread keeps looking at it.
        self._until: dict[Tellable, float] = {}
        self._thread: threading.Thread | None = None
        # Held except while the thread wakes up. Setting a `threading.Event` would take a lock.
        self._sleep = threading.Lock()
        self._is_telling = False

    def attend(self, cluster: Tellable) -> None:
        """Tell the changes of a cluster soon, and keep looking at it for a moment."""
        self._until[cluster] = time.monotonic() + LINGER
        if self._thread is None:
            self._start()
        else:
            with contextlib.suppress(RuntimeError):  # The thread is already awake.
                self._sleep.release()

    def finish(self) -> None:
        """Tell everything now, because the exiting interpreter stops the thread at any point."""
        unfinished = list(self._until)
        self._until.clear()
        if self._thread and self._is_telling:
            self._thread.join(LAST_WAIT)
        for cluster in unfinished:
            _tell(cluster)

    def _start(self) -> None:
        # If two threads are started at the same time, both tell, and both end.
        # The lock is created now because it must match the thread, which gevent may have replaced.
        self._sleep = threading.Lock()
        self._sleep.acquire()
        try:
            self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)
            self._thread.start()
        except RuntimeError:  # There are too many threads, or the interpreter is exiting.
            self._thread = None

    def _run(self) -> None:
        # With Python 3.14 or an instrumentation of threads, a thread inherits a context.
        contextvars.Context().run(self._tell_all)
        self._thread = None
        if self._until:  # Another thread called `attend` while this one was ending.
            self._start()

    def _tell_all(self) -> None:
        while self._until:
            self._is_telling = True
            now = time.monotonic()
            for cluster, until in list(self._until.items()):
                if until < now:
                    self._until.pop(cluster, None)
                _tell(cluster)
            self._is_telling = False
            self._sleep.acquire(timeout=NAP)


@quietly_shielded
def _tell(cluster: Tellable) -> None:
    cluster.tell()


_teller = Teller()
attend = _teller.attend
# Providers that were created before this are shut down after it, so they still get the changes.
atexit.register(_teller.finish)
if hasattr(os, "register_at_fork"):  # Not on Windows.
    os.register_at_fork(after_in_child=_teller.start_anew)

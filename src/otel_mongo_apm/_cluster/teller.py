"""A thread of our own that tells what happened in the clusters.

Whatever is told runs other people's code: log handlers, samplers, span and log record processors.
It may be slow, or wait for MongoDB itself. So neither PyMongo's monitors nor a caller who waits for
a server must run it.
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
# In seconds. The driver changes a description just after the event that announces it.
LINGER = 1.0
NAP = 0.05
# At the interpreter's end, for as long as this, what is being told is waited for.
LAST_WAIT = 1.0


class Tellable(Protocol):
    """A cluster, of which something may have to be told."""

    def tell(self) -> None:
        """Tell it, if nobody else does right now."""


class Teller:
    """Tells of clusters in a thread that starts when it is needed, and ends by itself.

    No method waits for a lock: monitors call them, and so may a signal's handler.
    """

    def __init__(self) -> None:
        self.start_anew()

    def start_anew(self) -> None:
        """Forget everything; the child of a fork has no such thread, and nothing to tell."""
        # Until when each cluster is looked after, by the monotonic clock.
        self._until: dict[Tellable, float] = {}
        self._thread: threading.Thread | None = None
        # Held but for the moment in which it is waking. An event would need a lock to be set.
        self._sleep = threading.Lock()
        self._is_telling = False

    def attend(self, cluster: Tellable) -> None:
        """Tell of a cluster soon, and look after it for a moment."""
        self._until[cluster] = time.monotonic() + LINGER
        if self._thread is None:
            self._start()
        else:
            with contextlib.suppress(RuntimeError):  # It is awake.
                self._sleep.release()

    def finish(self) -> None:
        """Tell everything now: the interpreter ends, and stops the thread wherever it is."""
        unfinished = list(self._until)
        self._until.clear()
        if self._thread and self._is_telling:
            self._thread.join(LAST_WAIT)
        for cluster in unfinished:
            _tell(cluster)

    def _start(self) -> None:
        # If two start one at once, both tell, and both end.
        # Made now: it must be of the same kind as the thread, which gevent may have changed.
        self._sleep = threading.Lock()
        self._sleep.acquire()
        try:
            self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)
            self._thread.start()
        except RuntimeError:  # There are too many threads, or the interpreter ends.
            self._thread = None

    def _run(self) -> None:
        # Instrumentation of threads, and Python 3.14, let a thread inherit a context.
        contextvars.Context().run(self._tell_all)
        self._thread = None
        if self._until:  # Somebody came just now, and believed that it was still running.
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
# The providers that were made before are shut down after this.
atexit.register(_teller.finish)
if hasattr(os, "register_at_fork"):  # Not on Windows.
    os.register_at_fork(after_in_child=_teller.start_anew)

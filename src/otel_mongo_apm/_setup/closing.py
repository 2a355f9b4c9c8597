"""Wraps `close()` of PyMongo's clients to report the end of discoveries and outages.

PyMongo publishes its last events while it holds locks, so nothing can be reported from there.
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

from otel_mongo_apm._cluster.listener import HeartbeatTelemetry
from otel_mongo_apm._driver.classes import client_classes
from otel_mongo_apm._driver.wrapping import Wrapping, replace_method
from otel_mongo_apm._operations.transactions import end_lost
from otel_mongo_apm._otel.shield import quietly_shielded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otel_mongo_apm._driver.wrapping import Undo


@quietly_shielded
def _tell_the_end(client: Any) -> None:
    end_lost()
    for listener in client.options.event_listeners:
        # A client that PyMongo has cloned from another one has that client's listeners.
        is_its_own = isinstance(listener, HeartbeatTelemetry) and listener.client() is client
        if is_its_own and listener.telemetry.is_on:
            listener.cluster.close()
            listener.cluster.tell()


def _told(original: Callable[..., Any], is_in_force: Callable[[], bool]) -> Callable[..., Any]:
    @functools.wraps(original)
    def close(self: Any) -> None:
        try:
            original(self)
        finally:
            if is_in_force():
                _tell_the_end(self)

    return close


def _told_async(
    original: Callable[..., Any], is_in_force: Callable[[], bool]
) -> Callable[..., Any]:
    @functools.wraps(original)
    async def close(self: Any) -> None:
        try:
            await original(self)
        finally:
            if is_in_force():
                _tell_the_end(self)

    return close


def _wrap_all() -> Iterator[Undo]:
    for cls in client_classes():
        yield replace_method(
            cls, "close", _told_async if inspect.iscoroutinefunction(cls.close) else _told
        )


wrap_close = Wrapping(_wrap_all).begin

"""`instrument_client()`: instruments a client that already exists."""

from __future__ import annotations

import logging
import weakref
from typing import TYPE_CHECKING, Any

from otel_mongo_apm._driver.classes import driver_client
from otel_mongo_apm._driver.client_reference import ClientReference
from otel_mongo_apm._driver.clients import check, has_servers
from otel_mongo_apm._driver.keywords import hide_ours
from otel_mongo_apm._driver.listeners import change_listeners
from otel_mongo_apm._settings.settings import Settings
from otel_mongo_apm._settings.telemetry import Telemetry
from otel_mongo_apm._waits.selection import observe_anew

from .client import client_listeners, client_telemetry, end_clusters, ours_among
from .conflicts import resolve_conflict
from .native_tracing import tell_native_tracing
from .topology_listeners import without_topology_listeners
from .wrapped import keep_wrapped

if TYPE_CHECKING:
    from pymongo import AsyncMongoClient, MongoClient
    from typing_extensions import Unpack

    from otel_mongo_apm._driver.classes import HasDelegate
    from otel_mongo_apm._settings.keywords import Keywords

_logger = logging.getLogger(__name__)

_telemetries: weakref.WeakSet[Telemetry] = weakref.WeakSet()


def instrument_client(
    client: MongoClient[Any] | AsyncMongoClient[Any] | HasDelegate,
    settings: Settings | None = None,
    **keywords: Unpack[Keywords],
) -> None:
    """Instrument a client that already exists.

    The client's commands are traced and measured from now on. The pools of servers that it is
    already connected to are not measured, nor are their heartbeats before PyMongo 4.18. To see
    everything, create the client after ``MongoInstrumentor().instrument()`` instead.

    A second call for the same client has no effect. ``MongoInstrumentor().uninstrument()`` stops
    the client's telemetry.

    Args:
        client: A `MongoClient`, an `AsyncMongoClient` or a client of Motor.
        settings: Settings to use instead of environment variables and defaults.
        keywords: The fields of `Settings`, and ``capture_statement=True`` as an alias for
            ``query_text="raw"``.

    Raises:
        TypeError: `client` is not a client of PyMongo or Motor; or a keyword is unknown, or its
            value has a wrong type.
        ValueError: A keyword's value is invalid.
    """
    resolved, own = Settings.resolve(settings, **keywords), driver_client(client)
    ours = ours_among(own.options.event_listeners)
    if any(listener.telemetry.is_on for listener in ours):
        return
    telemetry = Telemetry(resolved)
    keep_wrapped(telemetry)
    all_listeners = client_listeners(telemetry, ClientReference(weakref.ref(own)))
    listeners = without_topology_listeners(all_listeners, "it was created before")
    check(own)
    # Silenced listeners of an earlier instrumentation still end the commands that they started.
    on_their_way = [each for each in ours if client_telemetry(each).in_flight]
    if change_listeners(own, ours, [*listeners, *on_their_way]):
        hide_ours(own)
        resolve_conflict(telemetry, own)
        observe_anew(own)
        tell_native_tracing(own)
        _telemetries.add(telemetry)
        if has_servers(own):
            _logger.warning(
                "This client was already connected when it was instrumented. Its existing pools are"
                " not measured, and waits for their connections have no spans."
            )


def quiet_existing_clients() -> bool:
    """Silence all clients of `instrument_client()`; return False if there were none."""
    telemetries = list(_telemetries)
    for telemetry in telemetries:
        telemetry.turn_off()
        end_clusters(telemetry)
    _telemetries.clear()
    return bool(telemetries)

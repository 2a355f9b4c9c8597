"""Clients that were made before anybody instrumented."""

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
    """Instrument a client that exists: a `MongoClient`, an `AsyncMongoClient` or one of Motor's.

    Its commands are seen from now on. Pools, and before PyMongo 4.18 heartbeats, only of servers
    that it has not yet connected to: to see all, make the client after
    ``MongoInstrumentor().instrument()``. A client that is instrumented already is left as it is.
    ``MongoInstrumentor().uninstrument()`` quiets it.

    Args:
        client: The client.
        settings: What to use instead of the environment and the defaults.
        keywords: The fields of `Settings`; also ``capture_statement``.

    Raises:
        TypeError: It is no client; or a keyword is unknown, or its value is of a wrong type.
        ValueError: A keyword's value is not among those accepted.
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
    # Those that are quiet now see the commands on their way to the end, after the new ones.
    on_their_way = [each for each in ours if client_telemetry(each).in_flight]
    if change_listeners(own, ours, [*listeners, *on_their_way]):
        hide_ours(own)
        resolve_conflict(telemetry, own)
        observe_anew(own)
        tell_native_tracing(own)
        _telemetries.add(telemetry)
        if has_servers(own):
            _logger.warning(
                "This client was connected before it was instrumented: the pools that it has are"
                " not measured, and waits for their connections have no spans."
            )


def quiet_existing_clients() -> bool:
    """Quiet all that `instrument_client` has instrumented; false if there were none."""
    telemetries = list(_telemetries)
    for telemetry in telemetries:
        telemetry.turn_off()
        end_clusters(telemetry)
    _telemetries.clear()
    return bool(telemetries)

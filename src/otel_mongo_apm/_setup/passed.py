"""`event_listeners()`: a set of listeners that users pass to a client themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_mongo_apm._driver.client_reference import ClientReference
from otel_mongo_apm._settings.settings import Settings
from otel_mongo_apm._settings.telemetry import Telemetry

from .client import client_listeners
from .wrapped import keep_wrapped

if TYPE_CHECKING:
    from pymongo.monitoring import _EventListener
    from typing_extensions import Unpack

    from otel_mongo_apm._settings.keywords import Keywords


def event_listeners(
    settings: Settings | None = None, **keywords: Unpack[Keywords]
) -> list[_EventListener]:
    """Return a set of listeners that instruments one client.

    Use it instead of `MongoInstrumentor.instrument()` to instrument only some of your clients:
    ``MongoClient(event_listeners=[*event_listeners(query_text="off"), my_listener])``. Call it
    once for each client, because the events of two clients that share a set cannot be told apart.

    Args:
        settings: Settings to use instead of environment variables and defaults.
        keywords: The fields of `Settings`, and ``capture_statement=True`` as an alias for
            ``query_text="raw"``.

    Raises:
        TypeError: A keyword is unknown, or its value has a wrong type.
        ValueError: A keyword's value is invalid.
    """
    telemetry = Telemetry(Settings.resolve(settings, **keywords))
    keep_wrapped(telemetry)
    return client_listeners(telemetry, ClientReference())

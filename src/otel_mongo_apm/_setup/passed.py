"""`event_listeners()`: a set of listeners for those who would rather pass it to their client."""

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
    """Listeners for one client, for those who would rather pass them than `instrument()`.

    ``MongoClient(event_listeners=[*event_listeners(query_text="off"), my_listener])``. Make a
    set for each client: the pools and the cluster of two cannot be told apart in one set.

    Args:
        settings: What to use instead of the environment and the defaults.
        keywords: The fields of `Settings`; also ``capture_statement``.

    Raises:
        TypeError: A keyword is unknown, or its value is of a wrong type.
        ValueError: A keyword's value is not among those accepted.
    """
    telemetry = Telemetry(Settings.resolve(settings, **keywords))
    keep_wrapped(telemetry)
    return client_listeners(telemetry, ClientReference())

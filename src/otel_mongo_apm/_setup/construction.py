"""The constructors of PyMongo's clients, wrapped: each client is made with our listeners."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from otel_mongo_apm._driver.classes import client_classes
from otel_mongo_apm._driver.client_reference import ClientReference
from otel_mongo_apm._driver.clients import check, is_made_by_encryption
from otel_mongo_apm._driver.wrapping import replace_method
from otel_mongo_apm._otel.shield import quietly_shielded

from .client import client_listeners, ours_among
from .conflicts import resolve_conflict

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_mongo_apm._driver.wrapping import Undo
    from otel_mongo_apm._settings.telemetry import Telemetry


def wrap_constructors(telemetry: Telemetry) -> list[Undo]:
    """Wrap the constructor of each class of clients; return what undoes it."""

    def wrap(original: Callable[..., None], is_in_force: Callable[[], bool]) -> Callable[..., None]:
        @functools.wraps(original)
        def instrumented(self: object, *args: Any, **kwargs: Any) -> None:
            if not is_in_force() or is_made_by_encryption():
                original(self, *args, **kwargs)
                return
            original(self, *args, **(_with_listeners(self, kwargs, telemetry) or kwargs))
            check(self)

        return instrumented

    return [replace_method(cls, "__init__", wrap) for cls in client_classes()]


@quietly_shielded
def _with_listeners(
    client: object, keywords: dict[str, Any], telemetry: Telemetry
) -> dict[str, Any]:
    resolve_conflict(telemetry)
    given = keywords.get("event_listeners") or ()
    if not isinstance(given, Sequence):
        return keywords  # It is PyMongo's to complain about.
    reference = ClientReference(weakref.ref(client))
    if ours := ours_among(given):
        other = ours[0].client
        if other() is None and not other.is_gone:
            return keywords  # They were passed for this client.
        # PyMongo clones a client, as it does for encryption; the clone has pools of its own.
        telemetry, given = ours[0].telemetry, [each for each in given if each not in ours]
    return {**keywords, "event_listeners": [*given, *client_listeners(telemetry, reference)]}

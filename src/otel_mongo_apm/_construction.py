"""The constructors of PyMongo's clients, wrapped: each client is made with our listeners."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ._client import client_listeners, ours_among
from ._client_reference import ClientReference
from ._compat import check, client_classes, is_made_by_encryption
from ._conflicts import resolve_conflict
from ._shield import quietly_shielded
from ._wrapping import replace_method

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._telemetry import Telemetry
    from ._wrapping import Undo


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
        other = ours[0].of.client
        if other() is None and not other.is_gone:
            return keywords  # They were passed for this client.
        # PyMongo clones a client, as it does for encryption; the clone has pools of its own.
        telemetry, given = ours[0].of.telemetry, [each for each in given if each not in ours]
    return {**keywords, "event_listeners": [*given, *client_listeners(telemetry, reference)]}

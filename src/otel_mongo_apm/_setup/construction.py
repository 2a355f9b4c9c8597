"""Wraps the constructors of PyMongo's clients so that each client has its own listeners."""

from __future__ import annotations

import functools
import logging
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from otel_mongo_apm._driver.classes import client_classes
from otel_mongo_apm._driver.client_reference import ClientReference
from otel_mongo_apm._driver.clients import (
    check,
    forget_frame,
    is_made_by_driver,
    is_made_by_encryption,
)
from otel_mongo_apm._driver.keywords import WithOurs, hide_ours, keyword_among
from otel_mongo_apm._driver.targets import redact_misread_credentials
from otel_mongo_apm._driver.wrapping import Wrapping, replace_method
from otel_mongo_apm._otel.shield import quietly_shielded

from .client import client_listeners, ours_among
from .conflicts import resolve_conflict
from .native_tracing import tell_native_tracing
from .topology_listeners import make_room, possible_listeners

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otel_mongo_apm._driver.wrapping import Undo
    from otel_mongo_apm._settings.telemetry import Telemetry

_logger = logging.getLogger(__name__)

# PyMongo's constructors issue warnings that name their caller. When Python looks for the caller, it
# skips frames of `importlib._bootstrap`, which it recognizes by a file name like this one. So the
# warning names the application's line, not our wrapper. The file does not exist, so tracebacks show
# no source for it.
_FILE = f"{__file__} (as importlib._bootstrap)"


class NewClients:
    """How new clients are instrumented.

    Attributes:
        telemetry: What they share. If None, only clients that get listeners from the user are
            instrumented.
    """

    telemetry: Telemetry | None = None


new_clients = NewClients()


def _made_with_listeners(
    original: Callable[..., None], is_in_force: Callable[[], bool]
) -> Callable[..., None]:
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807  # As in tracebacks.
        changed = _with_listeners(self, args, kwargs) if is_in_force() else None
        original(self, *args, **(changed or kwargs))
        if changed:
            _made(self)

    __init__.__code__ = __init__.__code__.replace(co_filename=_FILE)
    return functools.wraps(original)(__init__)


@quietly_shielded
def _with_listeners(
    client: object, args: tuple[Any, ...], keywords: dict[str, Any]
) -> dict[str, Any] | None:
    """Return the keywords for the constructor; None if the client is not instrumented."""
    keyword = keyword_among(keywords)
    given = keywords.get(keyword)
    # Other types are invalid; PyMongo raises the exception for them.
    if is_made_by_encryption() or not isinstance(given or (), Sequence):
        return None
    if new_clients.telemetry:
        resolve_conflict(new_clients.telemetry)
    redact_misread_credentials(args[0] if args else keywords.get("host"))
    ours = ours_among(given or ())
    if ours and ours[0].client.belongs_to(client):
        possible = possible_listeners(client, args, keywords, given or ())
        return keywords if possible is given else {**keywords, keyword: possible}
    telemetry = ours[0].telemetry if ours else new_clients.telemetry
    if telemetry is None:
        return None
    if ours:
        _warn_of_sharing(ours[0].client)
    others = [each for each in given or () if each not in ours]
    listeners = client_listeners(telemetry, ClientReference(weakref.ref(client)))
    possible = possible_listeners(client, args, keywords, listeners)
    shown = given.given if isinstance(given, WithOurs) else given
    return {**keywords, keyword: WithOurs([*others, *possible], shown)}


def _warn_of_sharing(reference: ClientReference) -> None:
    # PyMongo creates some clients from the options of another one, for example for encryption.
    if not reference.is_gone and not is_made_by_driver():
        _logger.warning(
            "One set of event_listeners() was passed to two clients. The second client gets a set"
            " of its own, with the same settings. Call event_listeners() once for each client."
        )


@quietly_shielded
def _made(client: Any) -> None:
    check(client)
    hide_ours(client)
    tell_native_tracing(client)
    forget_frame(client, _FILE)
    if ours := ours_among(client.options.event_listeners):
        resolve_conflict(ours[0].telemetry, client)
        make_room(client, ours)


def _wrap_all() -> Iterator[Undo]:
    for cls in client_classes():
        yield replace_method(cls, "__init__", _made_with_listeners)


wrap_constructors = Wrapping(_wrap_all).begin

"""Wraps the function of PyMongo's connections that every command passes before it is encoded."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from opentelemetry.instrumentation.utils import is_instrumentation_enabled

from otel_mongo_apm._driver.connections import connection_classes, listeners_of_connection
from otel_mongo_apm._driver.wrapping import Wrapping, replace_method
from otel_mongo_apm._otel.shield import quietly_shielded

from .comments import COMMENTED_COMMANDS, add_trace
from .listener import CommandTelemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otel_mongo_apm._driver.wrapping import Undo

# MongoDB 4.4: from this version on, every command on the list accepts a comment of any type.
_WIRE_VERSION = 9

# The attribute in which one of PyMongo's connections stores its command listener.
_LISTENER = "_otel_mongo_apm_comments"


@quietly_shielded
def _propagate(connection: Any, command: Any) -> None:
    # Other types than dict are the user's own objects, which PyMongo sends without copying.
    if type(command) is not dict or next(iter(command), None) not in COMMENTED_COMMANDS:
        return
    listener = _listener(connection)
    if (
        listener is None
        or not (listener.telemetry.is_on and listener.telemetry.propagates_comments)
        or connection.max_wire_version < _WIRE_VERSION
        or not is_instrumentation_enabled()
    ):
        return
    add_trace(command, listener.spans.parent())


def _listener(connection: Any) -> CommandTelemetry | None:
    attributes = vars(connection)
    listener: CommandTelemetry | None = attributes.get(_LISTENER)
    if listener is None or not listener.telemetry.is_on:
        # The client may have been instrumented since the last call.
        listeners = listeners_of_connection(connection)
        ours = (each for each in listeners if isinstance(each, CommandTelemetry))
        listener = attributes[_LISTENER] = next(ours, None)
    return listener


def _propagating(original: Callable[..., Any], is_in_force: Callable[[], bool]) -> Any:
    @functools.wraps(original)
    def add_server_api(self: Any, command: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(self, command, *args, **kwargs)
        if is_in_force():
            _propagate(self, command)
        return result

    return add_server_api


def _wrap_all() -> Iterator[Undo]:
    for cls in connection_classes():
        yield replace_method(cls, "add_server_api", _propagating)


wrap_connections = Wrapping(_wrap_all).begin

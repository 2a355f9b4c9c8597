"""Which commands have no span: what is sensitive, excluded, or of nobody's trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry import trace

from otel_mongo_apm._driver.background import is_background
from otel_mongo_apm._driver.command_names import known_name
from otel_mongo_apm._driver.documents import (
    DRIVER_COMMANDS,
    EXPLAIN,
    HELLO_COMMANDS,
    SENSITIVE_COMMANDS,
    explains_secrets,
    is_speculative_authentication,
)
from otel_mongo_apm._driver.native_tracing import is_traced_natively
from otel_mongo_apm._otel.semconv import MONGODB

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.monitoring import CommandStartedEvent

    from otel_mongo_apm._driver.client_reference import ClientReference
    from otel_mongo_apm._settings.settings import Settings

    Gate = Callable[[CommandStartedEvent], bool]


def gate(
    settings: Settings,
    client: ClientReference,
    command_name: str,
    database: str,
    collection: str | None,
) -> Gate | None:
    """What to ask before such a command gets a span; nothing to ask for most of them."""
    if is_excluded(settings, command_name, database, collection) or is_traced_natively(client()):
        return never
    if command_name in SENSITIVE_COMMANDS:
        return _secret
    # By MongoDB's own convention what the driver does by itself is an operation like others.
    is_by_itself = command_name in DRIVER_COMMANDS and settings.span_convention != MONGODB
    needs_parent = is_by_itself or settings.require_parent
    if known_name(command_name) in HELLO_COMMANDS or command_name == EXPLAIN:
        return _plain_within_a_trace if needs_parent else _plain
    return _within_a_trace if needs_parent else None


def is_excluded(
    settings: Settings, name: str, database: str | None, collection: str | None
) -> bool:
    """Whether there are to be no spans of a command or an operation."""
    return (
        not settings.command_spans
        or known_name(name) in map(known_name, settings.exclude_commands)
        or database in settings.exclude_databases
        or not settings.exclude_collections.isdisjoint({collection, f"{database}.{collection}"})
    )


def never(_: CommandStartedEvent) -> bool:
    """Whether an excluded command has a span."""
    return False


def _secret(_: CommandStartedEvent) -> bool:
    return False


def _plain(event: CommandStartedEvent) -> bool:
    return not (is_speculative_authentication(event.command) or explains_secrets(event.command))


def _plain_within_a_trace(event: CommandStartedEvent) -> bool:
    return _plain(event) and _within_a_trace(event)


def _within_a_trace(_: CommandStartedEvent) -> bool:
    return is_within_a_trace()


def is_within_a_trace() -> bool:
    """Whether what happens now is part of what somebody traces."""
    # What PyMongo does in the background may run in a copy of some stranger's context.
    return not is_background() and trace.get_current_span().get_span_context().is_valid

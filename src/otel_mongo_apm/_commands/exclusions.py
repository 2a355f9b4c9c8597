"""Which commands have no span: those that are sensitive, excluded or outside of a trace."""

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
    """Return the check for whether such a command has a span; None if all of them have one."""
    if is_excluded(settings, command_name, database, collection) or is_traced_natively(client()):
        return never
    if command_name in SENSITIVE_COMMANDS:
        return _secret
    # In MongoDB's own convention, commands that the driver sends on its own are operations, too.
    is_by_itself = command_name in DRIVER_COMMANDS and settings.span_convention != MONGODB
    needs_parent = is_by_itself or settings.require_parent
    if known_name(command_name) in HELLO_COMMANDS or command_name == EXPLAIN:
        return _plain_within_a_trace if needs_parent else _plain
    return _within_a_trace if needs_parent else None


def is_excluded(
    settings: Settings, name: str, database: str | None, collection: str | None
) -> bool:
    """Whether the settings exclude a command or an operation from having a span."""
    return (
        not settings.command_spans
        or known_name(name) in map(known_name, settings.exclude_commands)
        or database in settings.exclude_databases
        or not settings.exclude_collections.isdisjoint({collection, f"{database}.{collection}"})
    )


def never(_: CommandStartedEvent) -> bool:
    """Return False: an excluded command has no span."""
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
    """Whether the current code runs inside a trace."""
    # PyMongo's background work may run in a copy of an unrelated caller's context.
    return not is_background() and trace.get_current_span().get_span_context().is_valid

"""Selects the slow commands of one client that are explained."""

from __future__ import annotations

import logging
import weakref
from asyncio.events import _get_running_loop
from time import monotonic
from typing import TYPE_CHECKING, Any

from otel_mongo_apm._commands.in_flight import Special
from otel_mongo_apm._commands.query_text import sanitizer
from otel_mongo_apm._driver.clients import encrypts
from otel_mongo_apm._driver.documents import EXPLAIN
from otel_mongo_apm._driver.queries import encoded
from otel_mongo_apm._otel.shield import quietly_shielded

from .explainable import EXPLAINED_COMMANDS, explanation_of
from .explanation import Explanation, Query
from .queue import explanations

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from pymongo.monitoring import CommandStartedEvent

    from otel_mongo_apm._commands.in_flight import InFlightCommand
    from otel_mongo_apm._driver.client_reference import ClientReference
    from otel_mongo_apm._otel.addresses import Address
    from otel_mongo_apm._settings.telemetry import Telemetry

_logger = logging.getLogger(__name__)

# Seconds until the next attempt after a server has refused to explain a command.
PAUSE = 600.0
MAX_BYTES = 1 << 20


class SlowCommands:
    """Observes one client's commands, and requests an explanation of slow ones.

    Args:
        client: The client.
        telemetry: What all clients share.
        has_room: Whether a server's pool has a connection that the application does not need.
    """

    def __init__(
        self,
        client: ClientReference,
        telemetry: Telemetry,
        threshold: float,
        has_room: Callable[[Address], bool],
    ) -> None:
        self.client = client
        self.telemetry = telemetry
        self.has_room = has_room
        self._threshold = threshold
        self._text = sanitizer(1024, mask_keys=False)
        self._paused_until = 0.0
        if instruments := telemetry.command_instruments:
            instruments.start_counting_drops()

    def started(self, command: InFlightCommand, event: CommandStartedEvent) -> None:
        """Keep a command's document while the command is in flight."""
        if event.command_name in EXPLAINED_COMMANDS:
            command.special = special = command.special or Special()
            special.started = event

    @quietly_shielded
    def ended(self, command: InFlightCommand, seconds: float) -> None:
        """Request an explanation of a command if it was slow.

        Args:
            command: The command; its span has not ended yet.
            seconds: Its duration in seconds.
        """
        event = None if command.special is None else command.special.started
        if event is None or seconds < self._threshold or monotonic() < self._paused_until:
            return
        explanation = explanation_of(event.command_name, event.command)
        client = self.client()
        if explanation is None or client is None or encrypts(client):
            return
        text = self._text(event.command)
        shape = event.database_name, command.signature.collection, text
        if not explanations.admits(shape):
            return
        # The application may change its documents, and large ones must not wait in the queue.
        encoded_command = encoded(client, explanation[EXPLAIN])
        if encoded_command is None or len(encoded_command.raw) > MAX_BYTES:
            return
        query = Query(
            database=event.database_name,
            collection=command.signature.collection,
            address=command.signature.address,
            explain={**explanation, EXPLAIN: encoded_command},
            read_preference=event.command.get("$readPreference"),
            span_context=command.span.get_span_context(),
            seconds=seconds,
        )
        if not explanations.add(Explanation(self, query, _running_loop()).ask):
            explanations.forget(shape)
            self.dropped()

    def dropped(self) -> None:
        """Count a command that is not explained, because the queue or the pool is busy."""
        if instruments := self.telemetry.command_instruments:
            instruments.explain_drops.add(1)

    def refused(self, name: str) -> None:
        """Stop asking for a while, because the server would refuse the next command, too.

        Args:
            name: The name of the server's error.
        """
        self._paused_until = monotonic() + PAUSE
        _logger.warning(
            "The server refused to explain a slow command (%s)."
            " Slow commands of this client are not explained for the next %d minutes.",
            name,
            PAUSE / 60,
        )


def _running_loop() -> weakref.ReferenceType[asyncio.AbstractEventLoop] | None:
    loop: Any = _get_running_loop()
    return None if loop is None else weakref.ref(loop)

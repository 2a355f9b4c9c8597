"""The state of `instrument()`: another call changes it, `uninstrument()` undoes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from otel_mongo_apm._settings.settings import Settings, without_alias
from otel_mongo_apm._settings.telemetry import Telemetry

from .client import clients_of, end_clusters
from .conflicts import resolve_conflict
from .construction import new_clients
from .wrapped import wrap_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otel_mongo_apm._driver.wrapping import Undo


class Instrumentation:
    """The instrumentation of all clients that are created while it is in force."""

    def __init__(self) -> None:
        self._settings: Settings | None = None
        self._given: dict[str, Any] = {}
        self._undos: list[Undo] = []
        # One for each call with settings, for as long as a client uses it.
        self._telemetries: WeakSet[Telemetry] = WeakSet()

    def take(self, settings: Settings | None, keywords: Mapping[str, Any]) -> None:
        """Apply settings to new clients and, as far as possible, to existing ones.

        Args:
            settings: Settings to use instead of environment variables and defaults. If None, the
                settings of the previous call are used.
            keywords: Settings that take precedence over these.

        Raises:
            TypeError: A keyword is unknown, or its value has a wrong type.
            ValueError: A keyword's value is invalid.
        """
        given = without_alias({name: each for name, each in keywords.items() if each is not None})
        if settings is None:
            settings, given = self._settings, {**self._given, **given}
        telemetry = Telemetry(Settings.resolve(settings, **given))
        self._settings, self._given = settings, given
        self._undos += wrap_for(telemetry)
        self._change(telemetry.settings)
        self._telemetries.add(telemetry)
        new_clients.telemetry = telemetry
        resolve_conflict(telemetry)

    def _change(self, settings: Settings) -> None:
        for telemetry in list(self._telemetries):
            telemetry.change(settings)
            for client in clients_of(telemetry):
                client.take_settings()

    def resolve_conflict(self) -> None:
        """Check again whether opentelemetry-instrumentation-pymongo is also active."""
        if new_clients.telemetry:
            resolve_conflict(new_clients.telemetry)

    def undo(self) -> None:
        """Stop instrumenting new clients and silence existing ones; their open spans still end."""
        new_clients.telemetry = None
        for undo in self._undos:
            undo()
        for telemetry in list(self._telemetries):
            telemetry.turn_off()
            end_clusters(telemetry)

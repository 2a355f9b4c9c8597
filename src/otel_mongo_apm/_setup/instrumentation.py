"""What `instrument()` has done, so that it can be changed by another call, and undone."""

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
    """The instrumentation of all clients that are made while it is in force."""

    def __init__(self) -> None:
        self._settings: Settings | None = None
        self._given: dict[str, Any] = {}
        self._undos: list[Undo] = []
        # Of every call with settings, for as long as a client has them.
        self._telemetries: WeakSet[Telemetry] = WeakSet()

    def take(self, settings: Settings | None, keywords: Mapping[str, Any]) -> None:
        """Take settings for the clients to come and, as far as they can change, for those there.

        Args:
            settings: What to use instead of the environment and the defaults; if there is nothing,
                what was given before.
            keywords: What to use instead of that.

        Raises:
            TypeError: A keyword is unknown, or its value is of a wrong type.
            ValueError: A keyword's value is not among those accepted.
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
        """Look once more whether opentelemetry-instrumentation-pymongo is active, too."""
        if new_clients.telemetry:
            resolve_conflict(new_clients.telemetry)

    def undo(self) -> None:
        """Leave new clients alone and quiet those that exist, whose open spans still end."""
        new_clients.telemetry = None
        for undo in self._undos:
            undo()
        for telemetry in list(self._telemetries):
            telemetry.turn_off()
            end_clusters(telemetry)

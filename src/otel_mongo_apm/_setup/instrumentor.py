"""`MongoInstrumentor`: what `opentelemetry-instrument` and its users call."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, ClassVar

from opentelemetry.instrumentation.instrumentor import (  # type: ignore[attr-defined]
    BaseInstrumentor,  # Its module tells type checkers to look away.
)

from otel_mongo_apm._settings.configuration import Configuration
from otel_mongo_apm._settings.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from otel_mongo_apm._settings.telemetry import Telemetry


class MongoInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # It is untyped.
    """Instruments PyMongo, sync and async, and with it Motor.

    ``opentelemetry-instrument`` loads it by the name ``mongo_apm``. It sees the clients that
    are made after `instrument()`. Those made before it, or while an earlier `instrument()` that
    was undone was in force, stay as they are; see `instrument_client`.
    """

    # Of what a configuration file says, opentelemetry-configuration makes keywords with this.
    configuration: ClassVar[type[Any]] = Configuration

    _telemetry: Telemetry | None = None
    _undo: Sequence[Callable[[], None]] = ()

    def instrumentation_dependencies(self) -> Collection[str]:
        """The versions of PyMongo that can be instrumented, as requirements."""
        return ("pymongo >= 4.7, < 5",)

    def _instrument(self, **kwargs: Any) -> None:
        """Instrument with the keywords of `Settings`; also ``capture_statement``.

        Raises:
            TypeError: A keyword is unknown, or its value is of a wrong type.
            ValueError: A keyword's value is not among those accepted.
        """
        settings = Settings.resolve(**kwargs)
        # Here, since to import this package must not import PyMongo.
        from otel_mongo_apm._settings.telemetry import Telemetry  # noqa: PLC0415

        from .conflicts import resolve_conflict  # noqa: PLC0415
        from .construction import new_clients  # noqa: PLC0415
        from .wrapped import wrap_for  # noqa: PLC0415

        self._telemetry = new_clients.telemetry = Telemetry(settings)
        self._undo = wrap_for(self._telemetry)
        resolve_conflict(self._telemetry)

    def resolve_conflict(self) -> None:
        """Look once more whether opentelemetry-instrumentation-pymongo is active, too.

        It may have been loaded after this. ``opentelemetry-instrument`` calls it when it has
        loaded all, and each client that is made does the same.
        """
        if self._telemetry and self._telemetry.is_on:
            from .conflicts import resolve_conflict  # noqa: PLC0415

            resolve_conflict(self._telemetry)

    def uninstrument(self, **kwargs: Any) -> None:
        """Undo `instrument()`; clients of `instrument_client` go quiet, too."""
        # Not imported: who has not has instrumented no client with it, and may not have PyMongo.
        existing = sys.modules.get(f"{__package__}.existing")
        were_quieted = existing is not None and existing.quiet_existing_clients()
        if not were_quieted or self.is_instrumented_by_opentelemetry:
            super().uninstrument(**kwargs)

    def _uninstrument(self, **_: Any) -> None:
        """Leave new clients alone and quiet those that exist, whose open spans still end."""
        for undo in self._undo:
            undo()
        self._undo = ()
        if self._telemetry:
            from .client import end_clusters  # noqa: PLC0415
            from .construction import new_clients  # noqa: PLC0415

            new_clients.telemetry = None
            self._telemetry.turn_off()
            end_clusters(self._telemetry)


def resolve_conflict() -> None:
    """The ``opentelemetry_post_instrument`` hook of this package."""
    MongoInstrumentor().resolve_conflict()

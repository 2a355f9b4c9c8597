"""`MongoInstrumentor`, which `opentelemetry-instrument` and users call."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, ClassVar

from opentelemetry.instrumentation.instrumentor import (  # type: ignore[attr-defined]
    BaseInstrumentor,  # Type checkers are told to ignore its module.
)

from otel_mongo_apm._settings.configuration import Configuration

if TYPE_CHECKING:
    from collections.abc import Collection

    from typing_extensions import Unpack

    from otel_mongo_apm._settings.keywords import InstrumentKeywords
    from otel_mongo_apm._settings.settings import Settings

    from .instrumentation import Instrumentation

# Keywords that every OpenTelemetry instrumentor accepts.
_OPENTELEMETRYS_OWN = {"skip_dep_check", "raise_exception_on_conflict"}


class MongoInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # It is untyped.
    """Instruments PyMongo's sync and async clients, and Motor's clients.

    ``MongoInstrumentor().instrument()`` instruments the clients that you create after the call.
    To instrument a client that already exists, use `instrument_client()`.
    ``opentelemetry-instrument`` loads this class by the name ``mongo_apm``.
    """

    # opentelemetry-configuration uses this to turn a configuration file into keywords.
    configuration: ClassVar[type[Any]] = Configuration

    _instrumentation: Instrumentation | None = None

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return the supported versions of PyMongo as requirements."""
        return ("pymongo >= 4.7, < 5",)

    def instrument(
        self, settings: Settings | None = None, **keywords: Unpack[InstrumentKeywords]
    ) -> None:
        """Instrument every PyMongo and Motor client that you create from now on.

        A second call changes the settings that you pass and keeps the others. New clients use all
        of the new settings. Clients that were created since the first call use those that can be
        changed later: the hooks, the query text, ``error_messages``, ``exclude_*``,
        ``require_parent`` and ``wait_span_threshold``. A second call without settings has no
        effect.

        Args:
            settings: Settings to use instead of environment variables and defaults.
            keywords: The fields of `Settings`, and ``capture_statement=True`` as an alias for
                ``query_text="raw"``. ``skip_dep_check=True`` (default: False) skips the check of
                PyMongo's version. ``raise_exception_on_conflict=True`` (default: False) raises an
                exception if this check fails; by default an error is logged.

        Raises:
            TypeError: A keyword is unknown, or its value has a wrong type.
            ValueError: A keyword's value is invalid.
        """
        given = {name: each for name, each in keywords.items() if name not in _OPENTELEMETRYS_OWN}
        is_given = settings is not None or any(each is not None for each in given.values())
        if self._instrumentation and is_given:
            self._instrumentation.take(settings, given)
        else:
            super().instrument(settings=settings, **keywords)

    def _instrument(self, settings: Settings | None = None, **keywords: Any) -> None:
        # Imported here because importing this package must not import PyMongo.
        from .instrumentation import Instrumentation  # noqa: PLC0415

        instrumentation = Instrumentation()
        instrumentation.take(settings, keywords)
        self._instrumentation = instrumentation

    def resolve_conflict(self) -> None:
        """Check again whether opentelemetry-instrumentation-pymongo is also active.

        It may have been loaded after this package. ``opentelemetry-instrument`` calls this method
        when it has loaded everything. Each new client makes the same check.
        """
        if self._instrumentation:
            self._instrumentation.resolve_conflict()

    def uninstrument(self, **kwargs: Any) -> None:
        """Stop instrumenting new clients, and stop the telemetry of all instrumented clients.

        Spans in progress still end. This includes clients of `instrument_client()`.
        """
        # Looked up, not imported: if nobody has imported it, it has instrumented no client, and
        # PyMongo may be missing.
        existing = sys.modules.get(f"{__package__}.existing")
        were_quieted = existing is not None and existing.quiet_existing_clients()
        if not were_quieted or self.is_instrumented_by_opentelemetry:
            super().uninstrument(**kwargs)

    def _uninstrument(self, **_: Any) -> None:
        """Stop instrumenting new clients and silence existing ones; their open spans still end."""
        if self._instrumentation:
            self._instrumentation.undo()
        self._instrumentation = None


def resolve_conflict() -> None:
    """The ``opentelemetry_post_instrument`` hook of this package."""
    MongoInstrumentor().resolve_conflict()

"""`MongoInstrumentor`: what `opentelemetry-instrument` and its users call."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, ClassVar

from opentelemetry.instrumentation.instrumentor import (  # type: ignore[attr-defined]
    BaseInstrumentor,  # Its module tells type checkers to look away.
)

from otel_mongo_apm._settings.configuration import Configuration

if TYPE_CHECKING:
    from collections.abc import Collection

    from typing_extensions import Unpack

    from otel_mongo_apm._settings.keywords import InstrumentKeywords
    from otel_mongo_apm._settings.settings import Settings

    from .instrumentation import Instrumentation

# The keywords of every instrumentor, whatever it instruments.
_OPENTELEMETRYS_OWN = {"skip_dep_check", "raise_exception_on_conflict"}


class MongoInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # It is untyped.
    """Instruments PyMongo, sync and async, and with it Motor.

    ``opentelemetry-instrument`` loads it by the name ``mongo_apm``. It sees the clients that
    are made after `instrument()`. Those made before it, or while an earlier `instrument()` that
    was undone was in force, stay as they are; see `instrument_client`.
    """

    # Of what a configuration file says, opentelemetry-configuration makes keywords with this.
    configuration: ClassVar[type[Any]] = Configuration

    _instrumentation: Instrumentation | None = None

    def instrumentation_dependencies(self) -> Collection[str]:
        """The versions of PyMongo that can be instrumented, as requirements."""
        return ("pymongo >= 4.7, < 5",)

    def instrument(
        self, settings: Settings | None = None, **keywords: Unpack[InstrumentKeywords]
    ) -> None:
        """Instrument every PyMongo and Motor client that is made from now on.

        A second call with settings changes them: for the clients that are made from then on, and
        for those that were made since the first call as far as they can change, which are hooks,
        the query text, ``error_messages``, what is excluded, ``require_parent`` and
        ``wait_span_threshold``. What it does not name stays as it was. A second call without
        settings changes nothing.

        Args:
            settings: What to use instead of the environment and the defaults.
            keywords: The fields of `Settings`; also ``capture_statement``. With
                ``skip_dep_check=True`` (default: False) it is not looked whether PyMongo is
                installed in a version that can be instrumented; with
                ``raise_exception_on_conflict=True`` (default: False) it is an exception rather
                than an error in the log if it is not.

        Raises:
            TypeError: A keyword is unknown, or its value is of a wrong type.
            ValueError: A keyword's value is not among those accepted.
        """
        given = {name: each for name, each in keywords.items() if name not in _OPENTELEMETRYS_OWN}
        is_given = settings is not None or any(each is not None for each in given.values())
        if self._instrumentation and is_given:
            self._instrumentation.take(settings, given)
        else:
            super().instrument(settings=settings, **keywords)

    def _instrument(self, settings: Settings | None = None, **keywords: Any) -> None:
        # Here, since to import this package must not import PyMongo.
        from .instrumentation import Instrumentation  # noqa: PLC0415

        instrumentation = Instrumentation()
        instrumentation.take(settings, keywords)
        self._instrumentation = instrumentation

    def resolve_conflict(self) -> None:
        """Look once more whether opentelemetry-instrumentation-pymongo is active, too.

        It may have been loaded after this. ``opentelemetry-instrument`` calls it when it has
        loaded all, and each client that is made does the same.
        """
        if self._instrumentation:
            self._instrumentation.resolve_conflict()

    def uninstrument(self, **kwargs: Any) -> None:
        """Undo `instrument()`; clients of `instrument_client` go quiet, too."""
        # Not imported: who has not has instrumented no client with it, and may not have PyMongo.
        existing = sys.modules.get(f"{__package__}.existing")
        were_quieted = existing is not None and existing.quiet_existing_clients()
        if not were_quieted or self.is_instrumented_by_opentelemetry:
            super().uninstrument(**kwargs)

    def _uninstrument(self, **_: Any) -> None:
        """Leave new clients alone and quiet those that exist, whose open spans still end."""
        if self._instrumentation:
            self._instrumentation.undo()
        self._instrumentation = None


def resolve_conflict() -> None:
    """The ``opentelemetry_post_instrument`` hook of this package."""
    MongoInstrumentor().resolve_conflict()

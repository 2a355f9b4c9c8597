"""What the clients of one `instrument()` share: settings, tracer, instruments, an on/off switch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.trace import NoOpTracer, Tracer

from otel_mongo_apm._metrics.providers import instruments
from otel_mongo_apm._otel.older_names import are_older_names_wanted, older_names
from otel_mongo_apm._otel.semconv import MONGODB, PEER_SERVICE, SCHEMA_URL, SCOPE_NAME
from otel_mongo_apm._version import __version__

from .changes import changed

if TYPE_CHECKING:
    from otel_mongo_apm._otel.addresses import Attributes

    from .settings import Settings


class Telemetry:
    """Everything that is resolved once, before the first client.

    The instruments of a group of metrics are None if that group is turned off.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.tracer: Tracer = trace.get_tracer(
            SCOPE_NAME, __version__, settings.tracer_provider, SCHEMA_URL
        )
        self.command_instruments = (
            instruments(settings.meter_provider) if settings.metrics else None
        )
        self.pool_instruments = self.command_instruments if settings.pool_metrics else None
        self.topology_instruments = self.command_instruments if settings.topology_metrics else None
        self.events_in_spans = settings.events in {"span", "both"}
        self.sees_cluster = bool(self.topology_instruments) or settings.events != "none"
        self.traces_operations = settings.span_convention == MONGODB and settings.command_spans
        self.propagates_comments = settings.comment_propagation == "trace"
        self.older_names = are_older_names_wanted()
        self.has_met_conflict = self.has_met_native_tracing = False
        # PyMongo cannot remove a listener, so `uninstrument()` silences them instead.
        self.is_on = True

    def client_span(self, attributes: Attributes) -> Attributes:
        """The attributes of a client span, with those that not everybody wants."""
        peer = self.settings.peer_service
        more = older_names(attributes) if self.older_names else {}
        if peer:
            more[PEER_SERVICE] = peer
        return {**attributes, **more} if more else attributes

    def change(self, settings: Settings) -> None:
        """Change the settings of existing clients, as far as possible."""
        self.settings = changed(self.settings, settings)

    def turn_off(self) -> None:
        """Start nothing new. Commands in progress still end and are measured."""
        self.is_on = False
        self.pool_instruments = self.topology_instruments = None

    def stop_tracing(self) -> None:
        """Create no more spans; continue to measure and log."""
        self.tracer = NoOpTracer()

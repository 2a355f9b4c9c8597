"""Cluster events as log events of OpenTelemetry and as lines of Python's own logging."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from opentelemetry._logs import LogRecord, SeverityNumber, get_logger

from otel_mongo_apm._otel.context import NOBODYS_CONTEXT
from otel_mongo_apm._otel.semconv import SCHEMA_URL, SCOPE_NAME
from otel_mongo_apm._version import __version__

if TYPE_CHECKING:
    from otel_mongo_apm._settings.settings import Settings

    from .timeline import ClusterEvent

_lines = logging.getLogger(f"{SCOPE_NAME}.cluster")


class ClusterLog:
    """Where cluster events are logged."""

    def __init__(self, settings: Settings) -> None:
        self._has_lines = settings.events != "none"
        self._has_records = settings.events in {"logs", "both"}
        self._logger = get_logger(SCOPE_NAME, __version__, settings.logger_provider, SCHEMA_URL)

    def tell(self, event: ClusterEvent) -> None:
        """Log an event: as a WARN if it means trouble, else as INFO."""
        if self._has_lines:
            _lines.log(logging.WARNING if event.is_warning else logging.INFO, event.line)
        if self._has_records:
            self._logger.emit(_record(event))


def _record(event: ClusterEvent) -> LogRecord:
    severity = SeverityNumber.WARN if event.is_warning else SeverityNumber.INFO
    return LogRecord(
        event_name=event.name,
        timestamp=event.time,
        context=NOBODYS_CONTEXT,
        severity_number=severity,
        severity_text=severity.name,
        body=event.line,
        attributes=event.attributes,
    )

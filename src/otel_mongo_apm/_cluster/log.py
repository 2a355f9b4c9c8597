"""Cluster events as log events of OpenTelemetry and as lines of Python's own logging."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from opentelemetry._logs import LogRecord, SeverityNumber, get_logger

from otel_mongo_apm._otel.context import NOBODYS_CONTEXT
from otel_mongo_apm._otel.semconv import SCHEMA_URL, SCOPE_NAME
from otel_mongo_apm._version import __version__

from .story import Line, Story

if TYPE_CHECKING:
    from otel_mongo_apm._settings.settings import Settings

    from .timeline import ClusterEvent

_lines = logging.getLogger(f"{SCOPE_NAME}.cluster")


class ClusterLog:
    """Logs the events of one client's cluster."""

    def __init__(self, settings: Settings) -> None:
        self._has_lines = settings.events != "none"
        self._has_records = settings.events in {"logs", "both"}
        self._logger = get_logger(SCOPE_NAME, __version__, settings.logger_provider, SCHEMA_URL)
        self._story = Story()

    def opened(self) -> None:
        """Reset: the client was just opened."""
        self._story.begin()

    def tell(self, event: ClusterEvent) -> None:
        """Log an event. If it only repeats another one, it is not emitted as a log event."""
        line = self._story.line(event)
        if self._has_records and not line.repeats:
            self._logger.emit(_record(event, line.text))
        self._write(line)

    def review(self) -> None:
        """Log a line that was held back for long enough."""
        if line := self._story.overdue():
            self._write(line)

    def _write(self, line: Line) -> None:
        if self._has_lines:
            _lines.log(line.level, "%s", line.text)


def _record(event: ClusterEvent, text: str) -> LogRecord:
    severity = SeverityNumber.WARN if event.is_warning else SeverityNumber.INFO
    return LogRecord(
        event_name=event.name,
        timestamp=event.time,
        context=NOBODYS_CONTEXT,
        severity_number=severity,
        severity_text=severity.name,
        body=text,
        attributes=event.attributes,
    )

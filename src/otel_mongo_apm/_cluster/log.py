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
    """Where the events of one client's cluster are logged."""

    def __init__(self, settings: Settings) -> None:
        self._has_lines = settings.events != "none"
        self._has_records = settings.events in {"logs", "both"}
        self._logger = get_logger(SCOPE_NAME, __version__, settings.logger_provider, SCHEMA_URL)
        self._story = Story()

    def opened(self) -> None:
        """Begin anew: the client has just been opened."""
        self._story.begin()

    def tell(self, event: ClusterEvent) -> None:
        """Log an event; what only repeats another one is no log event."""
        line = self._story.line(event)
        if self._has_records and not line.repeats:
            self._logger.emit(_record(event, line.text))
        self._write(line)

    def review(self) -> None:
        """Log what has waited for long enough."""
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

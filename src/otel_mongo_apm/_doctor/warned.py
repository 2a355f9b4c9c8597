"""What this package, OpenTelemetry and PyMongo log as warnings, collected rather than logged."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

_LOGGERS = ("otel_mongo_apm", "opentelemetry", "pymongo")


class Warnings(logging.Handler):
    """Collects what is warned of, which is not logged meanwhile."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._messages: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Take note of a warning."""
        self._messages.append((record.name, record.getMessage()))

    def of(self, loggers: str) -> list[str]:
        """What those loggers have warned of whose names begin so; each once."""
        said = [message for name, message in self._messages if name.startswith(loggers)]
        return list(dict.fromkeys(said))

    def __enter__(self) -> Self:
        self._propagated = {name: logging.getLogger(name).propagate for name in _LOGGERS}
        for name in _LOGGERS:
            logger = logging.getLogger(name)
            logger.addHandler(self)
            logger.propagate = False
        return self

    def __exit__(self, *_: object) -> None:
        for name, propagate in self._propagated.items():
            logger = logging.getLogger(name)
            logger.removeHandler(self)
            logger.propagate = propagate

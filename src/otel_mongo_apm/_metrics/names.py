"""Names in metrics: bounded, as each is a series to be stored."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from opentelemetry.semconv.attributes.db_attributes import (
    DB_COLLECTION_NAME,
    DB_NAMESPACE,
    DB_OPERATION_NAME,
)

if TYPE_CHECKING:
    from otel_mongo_apm._otel.addresses import Attributes

_logger = logging.getLogger(__name__)

MAX_METRIC_NAMES = 2_000


class _Names:
    """Names that this process has in its metrics: bounded, as each is a series to be stored."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._admitted: set[object] = set()
        self._has_refused = False

    def admit(self, name: object) -> bool:
        if name in self._admitted:
            return True
        if len(self._admitted) >= MAX_METRIC_NAMES:
            self._refuse()
            return False
        self._admitted.add(name)
        return True

    def _refuse(self) -> None:
        if not self._has_refused:
            self._has_refused = True
            _logger.warning(
                "Metrics name the first %d %s; those of others go without.",
                MAX_METRIC_NAMES,
                self._kind,
            )


_commands, _databases, _collections = _Names("commands"), _Names("databases"), _Names("collections")


def refused_in_metrics(attributes: Attributes) -> set[str]:
    """Those of the attributes that would be one series too many."""
    database, collection = attributes[DB_NAMESPACE], attributes.get(DB_COLLECTION_NAME)
    refused = set()
    if not _commands.admit(attributes[DB_OPERATION_NAME]):
        refused.add(DB_OPERATION_NAME)
    if not _databases.admit(database):
        refused |= {DB_NAMESPACE, DB_COLLECTION_NAME}
    elif collection is not None and not _collections.admit((database, collection)):
        refused.add(DB_COLLECTION_NAME)
    return refused

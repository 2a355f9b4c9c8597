"""Limits the number of names in metrics, because each name is a series to be stored."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from opentelemetry.semconv.attributes.db_attributes import (
    DB_COLLECTION_NAME,
    DB_NAMESPACE,
    DB_OPERATION_NAME,
)
from opentelemetry.semconv.attributes.network_attributes import (
    NETWORK_PEER_ADDRESS,
    NETWORK_PEER_PORT,
)
from opentelemetry.semconv.attributes.server_attributes import SERVER_ADDRESS, SERVER_PORT

from otel_mongo_apm._otel.semconv import ERROR_NAME

if TYPE_CHECKING:
    from otel_mongo_apm._driver.failures import Failure
    from otel_mongo_apm._otel.addresses import Attributes

_logger = logging.getLogger(__name__)

MAX_METRIC_NAMES = 2_000
MAX_POOL_NAMES = 200
MAX_ERROR_NAMES = 200

_OF_SERVERS = frozenset({SERVER_ADDRESS, SERVER_PORT, NETWORK_PEER_ADDRESS, NETWORK_PEER_PORT})


_NAMELESS = "the others are measured without a name"


class _Names:
    """The names of one kind in this process's metrics."""

    def __init__(self, kind: str, limit: int, others: str = _NAMELESS) -> None:
        self._kind = kind
        self._limit = limit
        self._others = others
        self._admitted: set[object] = set()
        self._has_refused = False

    def admit(self, name: object) -> bool:
        if name in self._admitted:
            return True
        if len(self._admitted) >= self._limit:
            self._refuse()
            return False
        self._admitted.add(name)
        return True

    def _refuse(self) -> None:
        if not self._has_refused:
            self._has_refused = True
            _logger.warning(
                "Metrics name only the first %d %s; %s.", self._limit, self._kind, self._others
            )


_commands = _Names("commands", MAX_METRIC_NAMES)
_databases = _Names("databases", MAX_METRIC_NAMES)
_collections = _Names("collections", MAX_METRIC_NAMES)
_targets = _Names("configured servers", MAX_METRIC_NAMES)
_peers = _Names("contacted servers", MAX_METRIC_NAMES)
_errors = _Names("errors", MAX_ERROR_NAMES)
_srv_records = _Names("SRV records", MAX_METRIC_NAMES)
_pools = _Names("connection pools", MAX_POOL_NAMES, "all others are added up")


def bounded(attributes: Attributes) -> Attributes:
    """Return a measurement's attributes without those that would exceed the limit of series."""
    refused = _refused(attributes)
    if not refused:
        return attributes
    return {name: value for name, value in attributes.items() if name not in refused}


def _refused(attributes: Attributes) -> set[str]:
    database = attributes.get(DB_NAMESPACE)
    refused = set()
    if not _admits(_commands, attributes, DB_OPERATION_NAME):
        refused.add(DB_OPERATION_NAME)
    if not _admits(_databases, attributes, DB_NAMESPACE):
        refused |= {DB_NAMESPACE, DB_COLLECTION_NAME}
    elif not _admits(_collections, attributes, DB_COLLECTION_NAME, database):
        refused.add(DB_COLLECTION_NAME)
    if not _admits(_targets, attributes, SERVER_ADDRESS, attributes.get(SERVER_PORT)):
        refused |= {SERVER_ADDRESS, SERVER_PORT}
    if not _admits(_peers, attributes, NETWORK_PEER_ADDRESS, attributes.get(NETWORK_PEER_PORT)):
        refused |= {NETWORK_PEER_ADDRESS, NETWORK_PEER_PORT}
    return refused


def _admits(names: _Names, attributes: Attributes, name: str, *more: object) -> bool:
    """Whether an attribute may be in metrics, together with the values that make it unique."""
    return name not in attributes or names.admit((attributes[name], *more))


def operation_attributes(attributes: Attributes) -> Attributes:
    """Return a command's attributes without those of the server."""
    return {name: value for name, value in attributes.items() if name not in _OF_SERVERS}


def failure_attributes(failure: Failure) -> Attributes:
    """Return the attributes of a failure: its type and, if that is only a number, its name."""
    if failure.status_code is None or not _errors.admit(failure.name):
        return failure.attributes
    return {**failure.attributes, ERROR_NAME: failure.name}


def admits_srv_record(name: str) -> bool:
    """Whether the name of an SRV record may be in metrics."""
    return _srv_records.admit(name)


def admits_pool(name: str) -> bool:
    """Whether the name of a pool may be in metrics."""
    return _pools.admit(name)

"""The attribute names from before the conventions were stable."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from opentelemetry.semconv.attributes.db_attributes import (
    DB_COLLECTION_NAME,
    DB_NAMESPACE,
    DB_OPERATION_NAME,
    DB_QUERY_TEXT,
    DB_SYSTEM_NAME,
)
from opentelemetry.semconv.attributes.network_attributes import (
    NETWORK_PEER_ADDRESS,
    NETWORK_PEER_PORT,
)
from opentelemetry.semconv.attributes.server_attributes import SERVER_ADDRESS, SERVER_PORT

from .semconv import (
    DB_MONGODB_COLLECTION,
    DB_NAME,
    DB_OPERATION,
    DB_STATEMENT,
    DB_SYSTEM,
    NET_PEER_NAME,
    NET_PEER_PORT,
    NET_SOCK_PEER_ADDR,
    NET_SOCK_PEER_PORT,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.util.types import AttributeValue

OPT_IN = "OTEL_SEMCONV_STABILITY_OPT_IN"
BOTH = "database/dup"

OLDER_NAMES: Mapping[str, str] = {
    DB_SYSTEM_NAME: DB_SYSTEM,
    DB_NAMESPACE: DB_NAME,
    DB_OPERATION_NAME: DB_OPERATION,
    DB_COLLECTION_NAME: DB_MONGODB_COLLECTION,
    DB_QUERY_TEXT: DB_STATEMENT,
    SERVER_ADDRESS: NET_PEER_NAME,
    SERVER_PORT: NET_PEER_PORT,
    NETWORK_PEER_ADDRESS: NET_SOCK_PEER_ADDR,
    NETWORK_PEER_PORT: NET_SOCK_PEER_PORT,
}


def are_older_names_wanted() -> bool:
    """Whether OpenTelemetry's own variable selects both the stable and the older names."""
    return BOTH in [each.strip() for each in os.environ.get(OPT_IN, "").split(",")]


def older_names(attributes: Mapping[str, AttributeValue]) -> dict[str, AttributeValue]:
    """Return the attributes that have an older name, under that name.

    >>> older_names({"db.namespace": "shop", "error.type": "11000"})
    {'db.name': 'shop'}
    """
    return {OLDER_NAMES[name]: value for name, value in attributes.items() if name in OLDER_NAMES}

"""What identifies a pool in metrics: its client and its server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.semconv.attributes.db_attributes import DB_SYSTEM_NAME

from otel_mongo_apm._driver.clients import app_name
from otel_mongo_apm._driver.targets import target
from otel_mongo_apm._metrics.names import admits_pool
from otel_mongo_apm._otel.addresses import written
from otel_mongo_apm._otel.semconv import MONGODB, OTHER_POOLS, POOL_NAME

if TYPE_CHECKING:
    from typing import Any

    from otel_mongo_apm._otel.addresses import Address

    from .pool import Pool


def pool_name(address: Address, application: str | None) -> str:
    """Return the name of a pool; pools of several clients with the same name are added up.

    >>> pool_name(("db.example", 27017), None)
    'db.example:27017'
    >>> pool_name(("db.example", 27017), "billing")
    'db.example:27017/billing'
    """
    server = written(address)
    return f"{server}/{application}" if application else server


def identify(pool: Pool, address: Address, client: Any) -> None:
    """Give a pool its name and attributes.

    Args:
        pool: The pool.
        address: The address of its server.
        client: Its client; None if that is not known.
    """
    name = pool_name(address, None if client is None else app_name(client))
    if admits_pool(name):
        pool.name = name
        pool.attributes = {DB_SYSTEM_NAME: MONGODB, POOL_NAME: name, **target(client)}
    else:
        pool.name = OTHER_POOLS
        pool.attributes = {DB_SYSTEM_NAME: MONGODB, POOL_NAME: OTHER_POOLS}

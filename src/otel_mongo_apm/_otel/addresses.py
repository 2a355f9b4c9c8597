"""Addresses and names of servers, as attributes and as people write them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.semconv.attributes.server_attributes import SERVER_ADDRESS, SERVER_PORT

from .semconv import REPLICA_SET_NAME

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

    Address = tuple[str, int | None]
    Attributes = dict[str, AttributeValue]


def server_attributes(address: Address) -> Attributes:
    """The attributes of a server's address; a Unix socket's has no port.

    >>> server_attributes(("/tmp/mongodb-27017.sock", None))
    {'server.address': '/tmp/mongodb-27017.sock'}
    """
    host, port = address
    return {SERVER_ADDRESS: host} if port is None else {SERVER_ADDRESS: host, SERVER_PORT: port}


def replica_set_attributes(name: str | None) -> Attributes:
    """The name of a replica set, if there is one."""
    return {REPLICA_SET_NAME: name} if name else {}


def written(address: Address) -> str:
    """An address as one writes it: ``host:port``, or a Unix socket's path.

    >>> written(("db.example", 27017))
    'db.example:27017'
    >>> written(("::1", 27017))
    '[::1]:27017'
    """
    host, port = address
    if port is None:
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

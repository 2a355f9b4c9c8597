"""Addresses and names of servers, as attributes and as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.semconv.attributes.network_attributes import (
    NETWORK_PEER_ADDRESS,
    NETWORK_PEER_PORT,
)
from opentelemetry.semconv.attributes.server_attributes import SERVER_ADDRESS, SERVER_PORT

from .semconv import REDACTED, REPLICA_SET_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.util.types import AttributeValue

    Address = tuple[str, int | None]
    Attributes = dict[str, AttributeValue]

DEFAULT_PORT = 27017

# How many of a client's configured servers are listed.
MAX_SEEDS = 5

# "Hosts" that are really parts of credentials; see `redact`.
_redacted: set[str] = set()


def redact(hosts: Iterable[str]) -> None:
    """Never show these hosts and their ports.

    Args:
        hosts: Parts of credentials that PyMongo mistakes for the names of servers.
    """
    _redacted.update(hosts)


def server_attributes(address: Address) -> Attributes:
    """Return ``server.address`` and ``server.port``; a Unix socket has no port.

    >>> server_attributes(("/tmp/mongodb-27017.sock", None))
    {'server.address': '/tmp/mongodb-27017.sock'}
    """
    return _attributes(address, SERVER_ADDRESS, SERVER_PORT)


def peer_attributes(address: Address) -> Attributes:
    """Return ``network.peer.address`` and ``network.peer.port`` of the contacted server.

    >>> peer_attributes(("db.example", 27017))
    {'network.peer.address': 'db.example', 'network.peer.port': 27017}
    """
    return _attributes(address, NETWORK_PEER_ADDRESS, NETWORK_PEER_PORT)


def _attributes(address: Address, host_name: str, port_name: str) -> Attributes:
    host, port = address
    if host in _redacted:
        return {host_name: REDACTED}
    return {host_name: host} if port is None else {host_name: host, port_name: port}


def target_attributes(seeds: Iterable[Address], srv_host: str | None = None) -> Attributes:
    """Return ``server.address`` and ``server.port`` for the servers of a client's configuration.

    Source: ``server.address`` and ``server.port`` of database clients in OpenTelemetry's semantic
    conventions 1.45.

    Args:
        seeds: The servers that are configured.
        srv_host: The host whose SRV record names them, if there is one.

    >>> target_attributes([("db.example", 27017)])
    {'server.address': 'db.example'}
    >>> target_attributes([("b", 27018), ("a", 27017)])
    {'server.address': 'a:27017,b:27018'}
    >>> target_attributes([("h.example", 27017)], "cluster.example")
    {'server.address': 'mongodb+srv://cluster.example'}
    """
    if srv_host:
        return {SERVER_ADDRESS: f"mongodb+srv://{srv_host}"}
    sorted_seeds = sorted(seeds, key=written)
    if len(sorted_seeds) == 1:
        host, port = sorted_seeds[0]
        return server_attributes((host, None if port == DEFAULT_PORT else port))
    has_ports = any(port not in {None, DEFAULT_PORT} for _, port in sorted_seeds)
    names = [written(seed) if has_ports else _host(seed) for seed in sorted_seeds[:MAX_SEEDS]]
    return {SERVER_ADDRESS: ",".join(names)} if names else {}


def _host(address: Address) -> str:
    return REDACTED if address[0] in _redacted else address[0]


def replica_set_attributes(name: str | None) -> Attributes:
    """Return the name of a replica set as an attribute, if there is one."""
    return {REPLICA_SET_NAME: name} if name else {}


def written(address: Address) -> str:
    """Return an address as text: ``host:port``, or a Unix socket's path.

    >>> written(("db.example", 27017))
    'db.example:27017'
    >>> written(("::1", 27017))
    '[::1]:27017'
    """
    host, port = address
    if port is None or host in _redacted:
        return _host(address)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

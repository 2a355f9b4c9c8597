"""PyMongo's own descriptions of a cluster, as its monitors would make them."""

from __future__ import annotations

from typing import Any

from pymongo.client_options import ClientOptions
from pymongo.hello import Hello
from pymongo.server_description import ServerDescription
from pymongo.topology_description import TOPOLOGY_TYPE, TopologyDescription

A, B, C = ("a.example", 27017), ("b.example", 27018), ("c.example", 27019)

_HELLOS: dict[str, dict[str, Any]] = {
    "rs_primary": {"isWritablePrimary": True, "setName": "rs0", "hosts": ["a"]},
    "rs_secondary": {"secondary": True, "setName": "rs0", "hosts": ["a"]},
    "standalone": {"isWritablePrimary": True},
    "mongos": {"isWritablePrimary": True, "msg": "isdbgrid"},
}


def server(
    address: tuple[str, int], server_type: str | Exception | None, round_trip_time: float = 0.002
) -> ServerDescription:
    """Describe a server of a type, one that raised an exception, or an unknown one."""
    if server_type is None:
        return ServerDescription(address)
    if isinstance(server_type, Exception):
        return ServerDescription(address, error=server_type)
    hello = Hello({"ok": 1, "maxWireVersion": 21, **_HELLOS[server_type]})
    return ServerDescription(address, hello, round_trip_time)


def replica_set(
    servers: dict[tuple[str, int], str | Exception | None], name: str = "rs0"
) -> TopologyDescription:
    """Describe a replica set of such servers."""
    has_primary = "rs_primary" in servers.values()
    topology_type = (
        TOPOLOGY_TYPE.ReplicaSetWithPrimary if has_primary else TOPOLOGY_TYPE.ReplicaSetNoPrimary
    )
    return _topology(topology_type, servers, name)


def single(server_type: str | Exception | None) -> TopologyDescription:
    """Describe one server."""
    return _topology(TOPOLOGY_TYPE.Single, {A: server_type}, None)


def closed() -> TopologyDescription:
    """Describe what a closed client knows."""
    return _topology(TOPOLOGY_TYPE.Unknown, {}, None)


def _topology(
    topology_type: int,
    servers: dict[tuple[str, int], str | Exception | None],
    name: str | None,
) -> TopologyDescription:
    descriptions = {address: server(address, kind) for address, kind in servers.items()}
    return TopologyDescription(topology_type, descriptions, name, None, None, None)


class Client:
    """As much of a client as the cluster looks at."""

    def __init__(self, description: TopologyDescription, app_name: str | None = None) -> None:
        self.topology_description = description
        self.options = ClientOptions(None, None, None, {"appname": app_name} if app_name else {})
        self._topology = self

"""The text of the log lines about cluster events, in MongoDB's terms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_mongo_apm._otel.addresses import written

from .descriptions import SERVER_TYPES, TOPOLOGY_TYPES

if TYPE_CHECKING:
    from otel_mongo_apm._otel.addresses import Address

    from .descriptions import Server, Topology

# How many servers describe a topology without a name.
MAX_NAMED = 3

_SERVER_WORDS = {ours: mongodbs for mongodbs, ours in SERVER_TYPES.items()}
_TOPOLOGY_WORDS = {ours: mongodbs for mongodbs, ours in TOPOLOGY_TYPES.items()}


def topology_line(topology: Topology, text: str) -> str:
    """Write a line about a topology, named by its replica set or else by its servers."""
    return f"Topology {_title(topology)}{_application(topology)}: {text}"


def server_line(address: Address, topology: Topology, text: str) -> str:
    """Write a line about a server."""
    of = f" of {topology.replica_set}" if topology.replica_set else ""
    return f"Server {written(address)}{of}{_application(topology)}: {text}"


def server_change(old: Server, new: Server) -> str:
    """Describe how a server has changed, and why.

    >>> from otel_mongo_apm._cluster.descriptions import Server
    >>> from otel_mongo_apm._driver.reasons import Reason
    >>> server_change(Server("rs_primary"), Server("unknown", Reason("T", "timed out")))
    'RSPrimary -> Unknown, timed out'
    """
    reason = f", {new.reason.words}" if new.reason else ""
    return f"{_change(_SERVER_WORDS[old.type], _SERVER_WORDS[new.type])}{reason}"


def topology_change(old: Topology, new: Topology) -> str:
    """Describe how a topology has changed.

    >>> from otel_mongo_apm._cluster.descriptions import Topology
    >>> topology_change(Topology(), Topology("replica_set_no_primary", is_readable=True))
    'Unknown -> ReplicaSetNoPrimary, no writable server'
    """
    change = _change(_TOPOLOGY_WORDS[old.type], _TOPOLOGY_WORDS[new.type])
    if not new.is_writable:
        return f"{change}, no {'writable' if new.is_readable else 'usable'} server"
    primary = f", primary {written(new.primary)}" if new.primary else ""
    return f"{change}, writable{primary}"


def _change(old: str, new: str) -> str:
    return new if old == new else f"{old} -> {new}"


def _title(topology: Topology) -> str:
    if topology.replica_set:
        return topology.replica_set
    servers = sorted(map(written, topology.servers))
    named, more = ", ".join(servers[:MAX_NAMED]), len(servers) - MAX_NAMED
    return f"{named} and {more} more" if more > 0 else named or "without servers"


def _application(topology: Topology) -> str:
    return f" ({topology.app_name})" if topology.app_name else ""

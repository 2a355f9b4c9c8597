"""Reads the state of a client, mostly from private attributes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pymongo

from .heartbeats import operation_cancelled
from .private_names import is_there, warn_of_loss

if TYPE_CHECKING:
    from types import FrameType

    from bson.objectid import ObjectId
    from pymongo.topology_description import TopologyDescription

# The modules that create the client of mongocryptd: in 4.7 and 4.8, and since 4.9.
_ENCRYPTION_MODULES = (
    "pymongo.encryption",
    "pymongo.synchronous.encryption",
    "pymongo.asynchronous.encryption",
)


def is_made_by_encryption() -> bool:
    """Whether the client that is being created belongs to PyMongo's client-side encryption."""
    return _maker() in _ENCRYPTION_MODULES


def is_made_by_driver() -> bool:
    """Whether PyMongo itself is creating a client right now."""
    return _maker() is not None


def _maker() -> str | None:
    """Return the module of PyMongo that is creating a client; None if the application is."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  # What `inspect` would use, too.
    while frame:
        module = frame.f_globals.get("__name__")
        if isinstance(module, str) and module.startswith("pymongo."):
            return module
        frame = frame.f_back
    return None


def encrypts(client: Any) -> bool:
    """Whether a client encrypts fields of the documents that it sends."""
    return client.options.auto_encryption_opts is not None


def has_servers(client: Any) -> bool:
    """Whether a client has begun to connect."""
    topology = topology_of(client)
    if topology is not None and not hasattr(topology, "_servers"):
        warn_of_loss("Topology._servers", "whether a client is already connected is unknown")
    return bool(getattr(topology, "_servers", None))


# Attributes that a client may not have are read from `vars(client)`. A client would return a
# database for an unknown attribute, and fail while it is being created.


def check(client: Any) -> None:
    """Warn of each private attribute that a new client does not have."""
    modules = (
        _ENCRYPTION_MODULES[1:] if pymongo.version_tuple >= (4, 9) else _ENCRYPTION_MODULES[:1]
    )
    if not all(map(is_there, modules)):
        warn_of_loss(", ".join(modules), "internal clients for encryption are instrumented, too")
    if operation_cancelled() is None:
        warn_of_loss("_OperationCancelled", "cancelled heartbeats are reported as failed")
    if "_topology" not in vars(client):
        warn_of_loss("client._topology", "there is no cluster telemetry")
        return
    topology = topology_of(client)
    if topology is None:  # Its SRV record was not looked up yet.
        return
    if not hasattr(topology, "_topology_id"):
        warn_of_loss("Topology._topology_id", "the topology's ID is left out")
    if not hasattr(topology, "_closed"):
        warn_of_loss("Topology._closed", "closed clients may still be counted")


def forget_frame(client: Any, file: str) -> None:
    """Remove the frame of a file from the stack that PyMongo shows if a client is never closed."""
    settings = vars(client).get("_topology_settings")
    stack = getattr(settings, "_stack", None)
    if not isinstance(stack, str):
        warn_of_loss(
            "client._topology_settings._stack", "unclosed clients show a frame of otel-mongo-apm"
        )
        return
    ours = f'  File "{file}"'
    lines = stack.splitlines(keepends=True)
    settings._stack = "".join(  # noqa: SLF001
        line for line in lines if not line.startswith(ours)
    )


def topology_description(client: Any) -> TopologyDescription | None:
    """Return a client's current topology description; None before it has one."""
    if topology_of(client) is None:  # It is being created, or its SRV record is not looked up yet.
        return None
    description: TopologyDescription = client.topology_description
    return description


def topology_id(client: Any) -> ObjectId | None:
    """Return the topology's ID in PyMongo's own events and logs."""
    return getattr(topology_of(client), "_topology_id", None)


def is_closed(client: Any) -> bool:
    """Whether a client was closed."""
    return bool(getattr(topology_of(client), "_closed", False))


def topology_of(client: Any) -> Any:
    """Return a client's topology; None while the client is being created."""
    return vars(client).get("_topology")


def app_name(client: Any) -> str | None:
    """Return a client's `appName`; None if it has none, or before it is created."""
    name = None if topology_of(client) is None else client.options.pool_options.appname
    return str(name) if name else None

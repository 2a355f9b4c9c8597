"""The servers that a client is configured with, from PyMongo's private attributes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from otel_mongo_apm._otel.addresses import redact, target_attributes

from .private_names import warn_of_loss

if TYPE_CHECKING:
    from otel_mongo_apm._otel.addresses import Attributes


def target(client: Any) -> Attributes:
    """Return the attributes of a client's configured seeds or SRV record.

    There are none if the client is not known or is still being created.
    """
    state = {} if client is None else vars(client)
    if settings := state.get("_topology_settings"):
        if hasattr(settings, "seeds") and hasattr(settings, "fqdn"):
            return target_attributes(settings.seeds, settings.fqdn)
    elif srv_host := srv_host_of(client):
        return target_attributes((), srv_host)
    if "_topology" in state:
        warn_of_loss("client._topology_settings.seeds", "the configured server.address is left out")
    return {}


def srv_host_of(client: Any) -> str | None:
    """Return the host whose SRV record names a client's servers, before the lookup."""
    # PyMongo sets this in the constructor. Before 4.12 the constructor also makes the lookup.
    found = None if client is None else vars(client).get("_resolve_srv_info")
    try:
        return found["fqdn"] if found and found["is_srv"] else None
    except KeyError:
        return None


def srv_question(client: Any) -> str:
    """Return the DNS name of a client's SRV lookup."""
    found = vars(client).get("_resolve_srv_info")
    try:
        service = found["srv_service_name"] if found else None
    except KeyError:
        service = None
    return f"_{service or 'mongodb'}._tcp.{srv_host_of(client)}"


def redact_misread_credentials(host: Any) -> None:
    """Never show parts of credentials that PyMongo mistakes for servers.

    In ``mongodb://alice:12/34@db.example`` the slash in the password is not escaped, so PyMongo
    connects to port 12 of "alice".

    Args:
        host: The constructor's argument: a URI, a host, or several of them.
    """
    # Do not iterate over other types: PyMongo needs iterators that can be consumed only once.
    entities = [host] if isinstance(host, str) else host if isinstance(host, Sequence) else ()
    for entity in entities:
        _, _, rest = entity.partition("://") if isinstance(entity, str) else ("", "", "")
        hosts, _, path = rest.partition("/")
        if "@" in path.partition("?")[0] and "@" not in hosts:
            redact(each.partition(":")[0].lower() for each in hosts.split(","))

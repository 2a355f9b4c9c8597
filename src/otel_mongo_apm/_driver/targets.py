"""What a client is configured to connect to, which PyMongo keeps in private."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from otel_mongo_apm._otel.addresses import redact, target_attributes

from .private_names import warn_of_loss

if TYPE_CHECKING:
    from otel_mongo_apm._otel.addresses import Attributes


def target(client: Any) -> Attributes:
    """The attributes of the seeds or the SRV record that a client is configured with.

    None of a client that is not known or not yet made.
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
    """The host whose SRV record names a client's servers, before that was looked up."""
    # PyMongo sets it up while it makes the client. Before 4.12 the look-up is a part of that.
    found = None if client is None else vars(client).get("_resolve_srv_info")
    try:
        return found["fqdn"] if found and found["is_srv"] else None
    except KeyError:
        return None


def srv_question(client: Any) -> str:
    """The name that is asked for to learn a client's servers."""
    found = vars(client).get("_resolve_srv_info")
    try:
        service = found["srv_service_name"] if found else None
    except KeyError:
        service = None
    return f"_{service or 'mongodb'}._tcp.{srv_host_of(client)}"


def redact_misread_credentials(host: Any) -> None:
    """Never show what PyMongo takes for servers though it belongs to somebody's credentials.

    In ``mongodb://alice:12/34@db.example`` the slash of the password is not escaped: PyMongo
    connects to port 12 of "alice".

    Args:
        host: What the constructor of a client is given: a URI, a host, or several.
    """
    # Nothing else is looked into: what can be gone through only once is PyMongo's.
    entities = [host] if isinstance(host, str) else host if isinstance(host, Sequence) else ()
    for entity in entities:
        _, _, rest = entity.partition("://") if isinstance(entity, str) else ("", "", "")
        hosts, _, path = rest.partition("/")
        if "@" in path.partition("?")[0] and "@" not in hosts:
            redact(each.partition(":")[0].lower() for each in hosts.split(","))

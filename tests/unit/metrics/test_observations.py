"""What the observable instruments find at collection."""

from __future__ import annotations

import pytest
from opentelemetry.metrics import Observation

from otel_mongo_apm._cluster.descriptions import Server, Topology
from otel_mongo_apm._metrics.observations import writable
from otel_mongo_apm._metrics.observed import Observed

ADDRESS = ("db.example", 27017)


class Client:
    """A client with a direct connection to one server.

    Args:
        server_type: What the server is now.
        seen: What it was, too.
    """

    is_open, is_closed = True, False

    def __init__(self, server_type: str, *seen: str, topology_type: str = "single") -> None:
        servers = {ADDRESS: Server(server_type)}
        is_writable = server_type in {"rs_primary", "standalone"}
        self.topology = Topology(topology_type, "rs0", is_writable, True, None, servers)  # noqa: FBT003
        self.types_seen = {ADDRESS: {server_type, *seen}}

    def observed_cluster(self) -> Client:
        return self

    def tell(self) -> None:
        """There is nothing to tell."""


@pytest.mark.parametrize(
    ("client", "values"),
    [
        (Client("rs_primary"), [1]),
        (Client("standalone"), [1]),
        (Client("rs_secondary"), []),
        (Client("rs_arbiter"), []),
        (Client("unknown", "rs_secondary"), []),
        (Client("unknown"), [0]),
        (Client("unknown", "standalone"), [0]),
        (Client("rs_secondary", "rs_primary"), [0]),
        (Client("rs_secondary", topology_type="replica_set_no_primary"), [0]),
    ],
)
def test_writable(client, values):
    """What a client is directly connected to, and was never there to write to, is not told of."""
    observed = Observed()
    observed.add(client)

    attributes = {"mongodb.replica_set.name": "rs0"}
    assert list(writable(observed)) == [Observation(value, attributes) for value in values]


def test_a_reporting_job_beside_a_writer():
    """A client of a secondary does not make a cluster unwritable that others can write to."""
    clients, observed = [Client("rs_primary"), Client("rs_secondary")], Observed()
    for client in clients:
        observed.add(client)

    assert [observation.value for observation in writable(observed)] == [1]

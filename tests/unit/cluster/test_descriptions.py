"""Descriptions: what is taken from PyMongo's, and what has changed between two."""

from __future__ import annotations

import pymongo.errors
import pytest
from descriptions import A, B, C, closed, replica_set, single

from otel_mongo_apm._cluster.changes import changes
from otel_mongo_apm._cluster.descriptions import Server, Topology, topology

REFUSED = pymongo.errors.AutoReconnect("a.example:27017: [Errno 111] Connection refused")
BEFORE = topology(replica_set({A: "rs_primary", B: "rs_secondary"}), None)


def test_topology():
    """A replica set's state is taken from its servers'."""
    assert (
        Topology(
            type="replica_set_with_primary",
            replica_set="rs0",
            is_writable=True,
            is_readable=True,
            primary=A,
            servers={A: Server("rs_primary"), B: Server("rs_secondary")},
        )
        == BEFORE
    )


@pytest.mark.parametrize(
    ("description", "topology_type", "is_writable", "is_readable", "is_blank"),
    [
        (replica_set({A: "rs_secondary"}), "replica_set_no_primary", False, True, False),
        (replica_set({A: REFUSED}), "replica_set_no_primary", False, False, False),
        (replica_set({A: None}), "replica_set_no_primary", False, False, True),
        (single("standalone"), "single", True, True, False),
        (single("mongos"), "single", True, True, False),
        (closed(), "unknown", False, False, True),
    ],
)
def test_states(description, topology_type, is_writable, is_readable, is_blank):
    """It is told apart what can be written to, read from, or is not connected at all."""
    found = topology(description, None)

    assert found.type == topology_type
    assert found.is_writable == is_writable
    assert found.is_readable == is_readable
    assert found.is_blank == is_blank


def told(old: Topology, new: Topology) -> list[tuple[str, dict, str, bool]]:
    prefix = "mongodb.client."
    return [
        (event.name.removeprefix(prefix), event.attributes, event.line, event.is_warning)
        for event in changes(old, new, 7)
    ]


def test_a_lost_primary():
    """That a primary is lost is told of the server and, as a warning, of the topology."""
    after = topology(replica_set({A: REFUSED, B: "rs_secondary"}), BEFORE.primary)

    assert told(BEFORE, after) == [
        (
            "server.description_changed",
            {
                "server.address": "a.example",
                "server.port": 27017,
                "mongodb.client.server.type": "unknown",
                "mongodb.client.server.previous_type": "rs_primary",
                "error.type": "ConnectionRefusedError",
            },
            "Server a.example:27017 of rs0: RSPrimary -> Unknown, connection refused",
            False,
        ),
        (
            "topology.description_changed",
            {
                "mongodb.client.topology.type": "replica_set_no_primary",
                "mongodb.client.topology.previous_type": "replica_set_with_primary",
                "mongodb.client.topology.writable": False,
                "mongodb.client.topology.readable": True,
                "mongodb.replica_set.name": "rs0",
            },
            "Topology rs0: ReplicaSetWithPrimary -> ReplicaSetNoPrimary, no writable server",
            True,
        ),
    ]


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        (REFUSED, "rs_secondary", "Topology rs0: ReplicaSetNoPrimary, no writable server"),
        ("rs_secondary", REFUSED, "Topology rs0: ReplicaSetNoPrimary, no usable server"),
    ],
)
def test_a_change_within_a_type(before, after, line):
    """Where the topology's type is the same, it is said what is not."""
    old, new = (topology(replica_set({A: each}), None) for each in (before, after))

    assert told(old, new)[-1][2] == line


def test_another_primary():
    """A primary after another is told with both, however long there was none between them."""
    between = topology(replica_set({A: REFUSED, B: "rs_secondary"}), BEFORE.primary)
    after = topology(replica_set({A: REFUSED, B: "rs_primary"}), between.primary)

    assert told(between, after)[-1] == (
        "topology.primary_changed",
        {
            "mongodb.client.primary.address": "b.example:27018",
            "mongodb.client.primary.previous_address": "a.example:27017",
        },
        "Topology rs0: primary a.example:27017 -> b.example:27018",
        False,
    )


def test_the_same_primary_again():
    """A primary that comes back is no change of primary, nor is the first one."""
    between = topology(replica_set({A: REFUSED}), BEFORE.primary)
    again = topology(replica_set({A: "rs_primary"}), between.primary)

    assert "topology.primary_changed" not in [name for name, *_ in told(between, again)]
    assert "topology.primary_changed" not in [name for name, *_ in told(Topology(), BEFORE)]


def test_servers_come_and_go():
    """A server added and one removed are told of."""
    after = topology(replica_set({A: "rs_primary", C: "rs_secondary"}), A)

    assert [(name, line) for name, _, line, _ in told(BEFORE, after)] == [
        ("server.opened", "Server c.example:27019 of rs0: added"),
        ("server.description_changed", "Server c.example:27019 of rs0: Unknown -> RSSecondary"),
        ("server.closed", "Server b.example:27018 of rs0: removed"),
    ]


def test_nothing():
    """Another description of the same is no change, nor is another error of a dead server."""
    dead = topology(replica_set({A: REFUSED}), None)
    still_dead = topology(replica_set({A: pymongo.errors.NetworkTimeout("late")}), None)

    assert told(BEFORE, topology(replica_set({A: "rs_primary", B: "rs_secondary"}), A)) == []
    assert told(dead, still_dead) == []

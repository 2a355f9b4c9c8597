"""Addresses of servers as attributes: what is configured, what is contacted, what is not shown."""

from __future__ import annotations

import pytest

from otel_mongo_apm._otel import addresses

SEEDS = [(f"h{number}.example", 27017) for number in range(6, 0, -1)]


@pytest.mark.parametrize(
    ("seeds", "expected"),
    [
        ([], {}),
        ([("db", 27017)], {"server.address": "db"}),
        ([("db", 27018)], {"server.address": "db", "server.port": 27018}),
        ([("/tmp/s.sock", None)], {"server.address": "/tmp/s.sock"}),
        ([("b", 27017), ("a", 27017)], {"server.address": "a,b"}),
        ([("b", 27017), ("a", 1)], {"server.address": "a:1,b:27017"}),
        ([("::1", 1), ("a", 1)], {"server.address": "[::1]:1,a:1"}),
        (SEEDS, {"server.address": "h1.example,h2.example,h3.example,h4.example,h5.example"}),
    ],
)
def test_target(seeds, expected):
    """A client's target is its seed, or at most five of them, with ports that are no defaults."""
    assert addresses.target_attributes(seeds) == expected


def test_target_by_an_srv_record():
    """A client that is configured with an SRV record has that for its target, not the servers."""
    target = addresses.target_attributes(SEEDS, "cluster.example")

    assert target == {"server.address": "mongodb+srv://cluster.example"}


def test_peer():
    """The server that was contacted has attributes of its own; a Unix socket has no port."""
    assert addresses.peer_attributes(("/tmp/s.sock", None)) == {
        "network.peer.address": "/tmp/s.sock"
    }


def test_what_is_redacted_is_shown_nowhere(monkeypatch):
    """A part of a password that PyMongo takes for a server has neither its name nor its port."""
    monkeypatch.setattr(addresses, "_redacted", set())
    addresses.redact(["alice"])
    address = "alice", 12

    assert addresses.server_attributes(address) == {"server.address": "REDACTED"}
    assert addresses.peer_attributes(address) == {"network.peer.address": "REDACTED"}
    assert addresses.target_attributes([address]) == {"server.address": "REDACTED"}
    assert addresses.target_attributes([address, ("db", 27017)]) == {
        "server.address": "REDACTED,db:27017"
    }
    assert addresses.written(address) == "REDACTED"

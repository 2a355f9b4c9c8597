"""Connections: the one that a command goes out on, by what its server calls it."""

from __future__ import annotations

import pytest
from events import ADDRESS

from otel_mongo_apm._commands.connections import Connections

OTHER_ADDRESS = ("other.example", 27017)
FIRST, SECOND = (ADDRESS, 1), (ADDRESS, 2)


@pytest.fixture
def connections():
    return Connections()


def sent(number, address=ADDRESS, name="find"):
    """A command on the connection that its server calls by a number."""
    return name, (address, number)


def test_the_last_that_was_checked_out(connections):
    """A command goes out on the connection that was checked out for it."""
    for connection, number in ((FIRST, 71), (SECOND, 72), (FIRST, 71)):
        connections.check_out(connection)

        assert connections.of(*sent(number)) == connection


def test_one_that_is_kept(connections):
    """A cursor's own connection is known while others are used."""
    connections.check_out(FIRST)
    connections.of(*sent(71))
    connections.check_out(SECOND)
    connections.of(*sent(72))

    assert connections.of(*sent(71)) == FIRST
    assert connections.of(*sent(72)) == SECOND


def test_another_clients(connections):
    """What another client has checked out from the same server is none of this one's."""
    connections.check_out(FIRST)
    connections.of(*sent(71))
    Connections().check_out(SECOND)

    assert connections.of(*sent(71)) == FIRST
    assert connections.of(*sent(72)) is None


def test_another_server(connections):
    """Nor is a connection to another server."""
    connections.check_out(FIRST)

    assert connections.of(*sent(71, OTHER_ADDRESS)) is None


def test_servers_that_give_the_same_names(connections):
    """Behind a load balancer two connections can have one name; the one checked out counts."""
    for connection in (FIRST, SECOND, FIRST, SECOND):
        connections.check_out(connection)

        assert connections.of(*sent(71)) == connection
    connections.forget(FIRST)
    assert connections.of(*sent(71)) == SECOND


def test_servers_that_give_none(connections):
    """A server that tells no name leaves the last that was checked out."""
    for connection in (FIRST, SECOND, FIRST):
        connections.check_out(connection)

        assert connections.of(*sent(None)) == connection
    assert len(connections) == 0


def test_before_it_is_checked_out(connections):
    """Credentials are sent on a connection that nobody has yet, whatever was checked out before."""
    connections.check_out(FIRST)

    assert connections.of(*sent(72, name="saslStart")) is None
    assert connections.of(*sent(71)) == FIRST


def test_an_id_that_another_had(connections):
    """A pool that is made anew numbers its connections from the first again."""
    connections.check_out(FIRST)
    connections.of(*sent(71))
    connections.check_out(FIRST)

    assert connections.of(*sent(75)) == FIRST
    assert len(connections) == 1


def test_closed(connections):
    """A connection that is closed is forgotten; to close it again changes nothing."""
    connections.check_out(FIRST)
    connections.of(*sent(71))
    connections.check_out(SECOND)
    connections.of(*sent(72))
    connections.forget(FIRST)
    connections.forget(FIRST)

    assert len(connections) == 1
    assert connections.of(*sent(72)) == SECOND


def test_bounded(connections, monkeypatch):
    """PyMongo may lose connections without a word, so their number is bounded."""
    monkeypatch.setattr("otel_mongo_apm._commands.connections.MAX_CONNECTIONS", 10)
    for number in range(100):
        connections.check_out((ADDRESS, number))

        assert connections.of(*sent(number)) == (ADDRESS, number)
    assert len(connections) <= 10

"""The clients that the observable instruments read, and the protocols that they implement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sized

    from pymongo.server_description import ServerDescription
    from pymongo.topology_description import TopologyDescription

    from otel_mongo_apm._otel.addresses import Address, Attributes


class ObservedPool(Protocol):
    """A connection pool."""

    @property
    def attributes(self) -> Attributes:
        """The attributes of its measurements."""

    @property
    def idle(self) -> int:
        """The number of idle connections."""

    @property
    def used(self) -> Sized:
        """The connections that are checked out."""

    @property
    def pending(self) -> Sized:
        """The callers that wait for a connection."""

    @property
    def max_size(self) -> int:
        """The maximum number of connections; 0 for no limit."""

    @property
    def min_size(self) -> int:
        """The minimum number of connections."""

    def drop_the_silent(self) -> None:
        """Forget callers that no longer wait."""


class ObservedServer(Protocol):
    """A server as a client sees it."""

    @property
    def type(self) -> str:
        """Its type, as in metrics."""


class ObservedTopology(Protocol):
    """All servers of a cluster as a client sees them."""

    @property
    def type(self) -> str:
        """Its type, as in metrics."""

    @property
    def replica_set(self) -> str | None:
        """The replica set's name, if it is one."""

    @property
    def is_writable(self) -> bool:
        """Whether at least one server accepts writes."""

    @property
    def is_readable(self) -> bool:
        """Whether at least one server accepts reads."""

    @property
    def servers(self) -> Mapping[Address, ObservedServer]:
        """Each server by its address."""


class ObservedCluster(Protocol):
    """A cluster as a client sees it."""

    @property
    def topology(self) -> ObservedTopology:
        """Its servers, as they were last seen."""

    @property
    def description(self) -> TopologyDescription | None:
        """PyMongo's own description of them."""

    @property
    def types_seen(self) -> Mapping[Address, Collection[str]]:
        """The types that each server has had."""

    @property
    def is_open(self) -> bool:
        """Whether the client monitors it."""

    @property
    def is_closed(self) -> bool:
        """Whether the client was closed."""

    @property
    def is_inherited(self) -> bool:
        """Whether it is in the child of a fork, where nobody has used the client yet."""

    def tell(self) -> None:
        """Look, and report what has changed."""


class ObservedClient(Protocol):
    """A client with the parts of it that are measured at the moment."""

    def observed_pools(self) -> Collection[ObservedPool]:
        """Its pools that are open."""

    def observed_cluster(self) -> ObservedCluster | None:
        """Its cluster."""


class Observed:
    """The clients that are alive, held weakly."""

    def __init__(self) -> None:
        self._clients: WeakValueDictionary[int, ObservedClient] = WeakValueDictionary()

    def add(self, client: ObservedClient) -> None:
        """Observe a client from now on."""
        self._clients[id(client)] = client

    def clients(self) -> Iterator[ObservedClient]:
        """Yield the clients that are alive."""
        # `valuerefs` copies the references at once; other threads may add and drop clients.
        for reference in self._clients.valuerefs():
            if client := reference():
                yield client

    def pools(self) -> Iterator[ObservedPool]:
        """Yield the open pools of all clients."""
        for client in self.clients():
            yield from client.observed_pools()

    def clusters(self) -> Iterator[ObservedCluster]:
        """Yield the open clusters of all clients, brought up to date."""
        for cluster in self.clusters_even_closed():
            if cluster.is_open and not cluster.is_closed:
                cluster.tell()
                yield cluster

    def clusters_even_closed(self) -> Iterator[ObservedCluster]:
        """Yield the clusters of all clients, in their last known state."""
        for client in self.clients():
            if cluster := client.observed_cluster():
                yield cluster

    def server_descriptions(self) -> Iterator[tuple[Address, ServerDescription]]:
        """Yield PyMongo's server descriptions, whose round-trip times change at every check."""
        for cluster in self.clusters():
            if description := cluster.description:
                yield from description.server_descriptions().items()

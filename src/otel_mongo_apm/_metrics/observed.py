"""The clients that observable instruments ask, and what they must be able to answer."""

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
        """What its measurements carry."""

    @property
    def idle(self) -> int:
        """How many connections are open that nobody uses."""

    @property
    def used(self) -> Sized:
        """The connections that are checked out."""

    @property
    def pending(self) -> Sized:
        """The callers that wait for a connection."""

    @property
    def max_size(self) -> int:
        """How many connections it may have; 0 for no limit."""

    @property
    def min_size(self) -> int:
        """How many connections it keeps."""

    def drop_the_silent(self) -> None:
        """Forget callers that wait no longer."""


class ObservedServer(Protocol):
    """A server, as a client knows it."""

    @property
    def type(self) -> str:
        """Its type, as metrics have it."""


class ObservedTopology(Protocol):
    """All servers of a cluster, as a client knows them."""

    @property
    def type(self) -> str:
        """Its type, as metrics have it."""

    @property
    def replica_set(self) -> str | None:
        """The replica set's name, if it is one."""

    @property
    def is_writable(self) -> bool:
        """Whether a server would take a write."""

    @property
    def is_readable(self) -> bool:
        """Whether a server would take a read."""

    @property
    def servers(self) -> Mapping[Address, ObservedServer]:
        """Each server by its address."""


class ObservedCluster(Protocol):
    """A cluster, as a client sees it."""

    @property
    def topology(self) -> ObservedTopology:
        """Its servers, as they were last seen."""

    @property
    def description(self) -> TopologyDescription | None:
        """The same in PyMongo's own words."""

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
        """Look, and tell what has changed."""


class ObservedClient(Protocol):
    """A client, as far as it is measured at this moment."""

    def observed_pools(self) -> Collection[ObservedPool]:
        """Its pools that are open."""

    def observed_cluster(self) -> ObservedCluster | None:
        """Its cluster."""


class Observed:
    """The clients that are alive, for as long as they are."""

    def __init__(self) -> None:
        self._clients: WeakValueDictionary[int, ObservedClient] = WeakValueDictionary()

    def add(self, client: ObservedClient) -> None:
        """Observe a client from now on."""
        self._clients[id(client)] = client

    def clients(self) -> Iterator[ObservedClient]:
        """Those that nobody has let go."""
        # The references are copied at once; others make and lose clients meanwhile.
        for reference in self._clients.valuerefs():
            if client := reference():
                yield client

    def pools(self) -> Iterator[ObservedPool]:
        """Their pools that are open."""
        for client in self.clients():
            yield from client.observed_pools()

    def clusters(self) -> Iterator[ObservedCluster]:
        """Their clusters that are open, as they are now."""
        for cluster in self.clusters_even_closed():
            if cluster.is_open and not cluster.is_closed:
                cluster.tell()
                yield cluster

    def clusters_even_closed(self) -> Iterator[ObservedCluster]:
        """Their clusters, as they were last seen."""
        for client in self.clients():
            if cluster := client.observed_cluster():
                yield cluster

    def server_descriptions(self) -> Iterator[tuple[Address, ServerDescription]]:
        """What the driver knows of their servers; its round-trip times change at every check."""
        for cluster in self.clusters():
            if description := cluster.description:
                yield from description.server_descriptions().items()

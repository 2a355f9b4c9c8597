"""A command's span name and its attributes at the start, by the conventions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from opentelemetry.semconv.attributes.db_attributes import (
    DB_COLLECTION_NAME,
    DB_NAMESPACE,
    DB_OPERATION_NAME,
    DB_QUERY_SUMMARY,
    DB_SYSTEM_NAME,
)
from opentelemetry.semconv.attributes.network_attributes import NETWORK_TRANSPORT
from opentelemetry.semconv.attributes.server_attributes import SERVER_PORT

from otel_mongo_apm._driver.documents import (
    BATCH_FIELDS,
    collection_in,
    plain,
    summary,
)
from otel_mongo_apm._driver.targets import target
from otel_mongo_apm._metrics.names import bounded
from otel_mongo_apm._otel.addresses import peer_attributes, server_attributes
from otel_mongo_apm._otel.bound import bound
from otel_mongo_apm._otel.semconv import DB_COMMAND_NAME, MONGODB, TCP, UNIX

from .exclusions import gate

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_mongo_apm._driver.client_reference import ClientReference
    from otel_mongo_apm._metrics.instruments import Instruments
    from otel_mongo_apm._otel.addresses import Address, Attributes
    from otel_mongo_apm._otel.bound import Record
    from otel_mongo_apm._settings.settings import Settings

    from .exclusions import Gate

    # The command, its database, the value of its collection field, and the server.
    Key = tuple[str, str, str | None, Address]

MAX_SIGNATURES = 10_000


@dataclass(frozen=True, slots=True)
class CommandSignature:
    """What all commands of one name to one collection of one server have in common.

    Args:
        address: The address of the server.
        collection: The collection's name, if they are sent to one.
        span_name: The name of their spans.
        attributes: The attributes for `start_span`, which samplers see. Shared; do not mutate.
        metric_attributes: The attributes of measurements. Shared; do not mutate.
        gate: Decides whether such a command has a span; None if all have one.
        batch_field: The field that contains a batch of writes.
        record_duration: Measures a successful command, in seconds, if durations are measured.
    """

    address: Address
    collection: str | None
    span_name: str
    attributes: Attributes
    metric_attributes: Attributes
    gate: Gate | None
    batch_field: str | None
    record_duration: Record | None


def _as_they_are(attributes: Attributes) -> Attributes:
    return attributes


class CommandSignatures(dict["Key", CommandSignature]):
    """The signatures of one client's commands, each built when it is first used."""

    def __init__(
        self,
        settings: Settings,
        client: ClientReference,
        client_span: Callable[[Attributes], Attributes] = _as_they_are,
        instruments: Instruments | None = None,
    ) -> None:
        super().__init__()
        self._client_span = client_span
        self._settings = settings
        self._instruments = instruments
        self._client = client

    def __missing__(self, key: Key) -> CommandSignature:
        if len(self) >= MAX_SIGNATURES:  # Clearing is cheaper than tracking the oldest.
            self.clear()
        signature = self._signature(*key)
        attributes = self._client_span(signature.attributes)
        if attributes is not signature.attributes:
            signature = replace(signature, attributes=attributes)
        self[key] = signature
        if self._instruments:
            self._instruments.count_retries(signature.metric_attributes, 0)
        return signature

    def _signature(
        self, command_name: str, database: str, given: str | None, address: Address
    ) -> CommandSignature:
        command_name, database = plain(command_name), plain(database)
        collection = collection_in(database, given)
        named = command_attributes(command_name, database, collection)
        attributes = {**named, **target(self._client()), **peer_attributes(address)}
        is_mongodb = self._settings.span_convention == MONGODB
        if is_mongodb:
            summarized = summary(command_name, database, collection)
            of_span = _as_drivers_have_them({**named, **server_attributes(address)}, summarized)
        else:
            of_span = attributes
        metric_attributes = bounded(attributes) if self._settings.metrics else attributes
        return CommandSignature(
            address=address,
            collection=collection,
            span_name=command_name if is_mongodb else f"{command_name} {collection or database}",
            attributes=of_span,
            metric_attributes=metric_attributes,
            gate=gate(self._settings, self._client, command_name, database, collection),
            batch_field=BATCH_FIELDS.get(command_name),
            record_duration=self._record_duration(metric_attributes),
        )

    def _record_duration(self, attributes: Attributes) -> Record | None:
        if not self._instruments:
            return None
        histogram = self._instruments.operation_duration
        return bound(histogram, attributes, may_bind=self._settings.bind_measurements)


def command_attributes(name: str, database: str | None, collection: str | None) -> Attributes:
    """Return the attributes of a command's name and of its database and collection."""
    attributes: Attributes = {DB_SYSTEM_NAME: MONGODB}
    if database is not None:
        attributes[DB_NAMESPACE] = database
    attributes[DB_OPERATION_NAME] = name
    if collection is not None:
        attributes[DB_COLLECTION_NAME] = collection
    return attributes


def _as_drivers_have_them(attributes: Attributes, summarized: str) -> Attributes:
    own = {**attributes, DB_COMMAND_NAME: attributes[DB_OPERATION_NAME]}
    del own[DB_OPERATION_NAME]
    transport = TCP if SERVER_PORT in own else UNIX
    return {**own, DB_QUERY_SUMMARY: summarized, NETWORK_TRANSPORT: transport}

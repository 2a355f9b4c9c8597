"""What OpenTelemetry's semantic conventions 1.45 say of databases, of MongoDB and of their metrics.

It is written down here once more, since nothing that can be installed has it with types,
requirement levels and bucket boundaries. Sources: the conventions' pages on database client spans,
on database client metrics and on MongoDB.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

REQUIRED, CONDITIONAL, RECOMMENDED, OPT_IN = "required", "conditional", "recommended", "opt-in"

TYPES: Mapping[str, type] = {
    "db.client.connection.pool.name": str,
    "db.client.connection.state": str,
    "db.collection.name": str,
    "db.namespace": str,
    "db.operation.batch.size": int,
    "db.operation.name": str,
    "db.query.summary": str,
    "db.query.text": str,
    "db.response.returned_rows": int,
    "db.response.status_code": str,
    "db.stored_procedure.name": str,
    "db.system.name": str,
    "dns.question.name": str,
    "error.type": str,
    "network.peer.address": str,
    "network.peer.port": int,
    "server.address": str,
    "server.port": int,
}

# MongoDB's page requires `db.collection.name` of every span, but a `ping` has no collection: the
# general page's condition is the one that can be met.
OPERATION: Mapping[str, str] = {
    "db.system.name": REQUIRED,
    "db.operation.name": REQUIRED,
    "db.collection.name": CONDITIONAL,
    "db.namespace": CONDITIONAL,
    "db.response.status_code": CONDITIONAL,
    "error.type": CONDITIONAL,
    "server.port": CONDITIONAL,
    "server.address": RECOMMENDED,
    "db.query.summary": RECOMMENDED,
    "db.stored_procedure.name": RECOMMENDED,
    "network.peer.address": RECOMMENDED,
    "network.peer.port": RECOMMENDED,
}
COMMAND_SPAN: Mapping[str, str] = {
    **OPERATION,
    "db.operation.batch.size": RECOMMENDED,
    "db.query.text": RECOMMENDED,  # As long as no values are in it.
    "db.response.returned_rows": OPT_IN,
}
# Those that samplers are to see.
AT_CREATION = {
    "db.collection.name",
    "db.namespace",
    "db.operation.name",
    "db.system.name",
    "server.address",
    "server.port",
}
# Commands that are sent to a collection, and so have that in their attributes.
OF_COLLECTIONS = {
    "count",
    "create",
    "createIndexes",
    "delete",
    "distinct",
    "drop",
    "dropIndexes",
    "find",
    "findAndModify",
    "insert",
    "listIndexes",
    "update",
}
POOL: Mapping[str, str] = {
    "db.client.connection.pool.name": REQUIRED,
    "db.system.name": CONDITIONAL,
    "server.port": CONDITIONAL,
    "server.address": RECOMMENDED,
}
STATES = {"idle", "used"}


@dataclass(frozen=True)
class Instrument:
    """What a metric is to be.

    Args:
        kind: Histogram, Counter, UpDownCounter or Gauge; observable or not.
        unit: Its unit.
        attributes: Its attributes and their requirement levels.
        buckets: The boundaries that are advised for it, if any are.
    """

    kind: str
    unit: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    buckets: tuple[float, ...] | None = None


METRICS: Mapping[str, Instrument] = {
    "db.client.operation.duration": Instrument(
        "Histogram",
        "s",
        {**OPERATION, "db.query.text": OPT_IN},
        (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10),
    ),
    "db.client.response.returned_rows": Instrument(
        "Histogram",
        "{row}",
        {**OPERATION, "db.query.text": OPT_IN},
        (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000),
    ),
    "db.client.connection.count": Instrument(
        "UpDownCounter", "{connection}", {**POOL, "db.client.connection.state": REQUIRED}
    ),
    "db.client.connection.idle.max": Instrument("UpDownCounter", "{connection}", POOL),
    "db.client.connection.idle.min": Instrument("UpDownCounter", "{connection}", POOL),
    "db.client.connection.limit": Instrument("UpDownCounter", "{connection}", POOL),
    "db.client.connection.pending_requests": Instrument("UpDownCounter", "{request}", POOL),
    "db.client.connection.timeouts": Instrument("Counter", "{timeout}", POOL),
    "db.client.connection.create_time": Instrument("Histogram", "s", POOL),
    "db.client.connection.wait_time": Instrument("Histogram", "s", POOL),
    "db.client.connection.use_time": Instrument("Histogram", "s", POOL),
    # Not of databases. Its buckets are those of durations, and one more: DNS may take long.
    "dns.lookup.duration": Instrument(
        "Histogram", "s", {"dns.question.name": REQUIRED, "error.type": CONDITIONAL}
    ),
}

"""Names that opentelemetry-semantic-conventions lacks, or has only among its incubating ones.

Sources: OpenTelemetry semantic conventions 1.44, ``db`` spans and ``db.client.*`` metrics, and the
OpenTelemetry specification of MongoDB's drivers; what begins with ``mongodb.`` is ours.
"""

from __future__ import annotations

from typing import Final

SCOPE_NAME: Final = "otel_mongo_apm"
SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"

# Values.
MONGODB: Final = "mongodb"
OTHER_ERROR: Final = "_OTHER"
TCP: Final = "tcp"
UNIX: Final = "unix"
ADMIN: Final = "admin"
IDLE: Final = "idle"
USED: Final = "used"

# Prefixes.
DB_CLIENT: Final = "db.client."
DB_CLIENT_CONNECTION: Final = "db.client.connection."
DB_CLIENT_OPERATION: Final = "db.client.operation."
DB_CLIENT_RESPONSE: Final = "db.client.response."
MONGODB_CLIENT: Final = "mongodb.client."
MONGODB_CLIENT_CONNECTION: Final = "mongodb.client.connection."
MONGODB_TOPOLOGY: Final = "mongodb.topology."

# Attributes.
DB_RESPONSE_RETURNED_ROWS: Final = "db.response.returned_rows"
DB_COMMAND_NAME: Final = "db.command.name"
DB_OPERATION_SUMMARY: Final = "db.operation.summary"
DB_MONGODB_CURSOR_ID: Final = "db.mongodb.cursor_id"
DB_MONGODB_DRIVER_CONNECTION_ID: Final = "db.mongodb.driver_connection_id"
DB_MONGODB_LSID: Final = "db.mongodb.lsid"
DB_MONGODB_SERVER_CONNECTION_ID: Final = "db.mongodb.server_connection_id"
DB_MONGODB_TXN_NUMBER: Final = "db.mongodb.txn_number"
POOL_NAME: Final = "db.client.connection.pool.name"
CONNECTION_STATE: Final = "db.client.connection.state"
CONNECTION_CLOSE_REASON: Final = "mongodb.client.connection.close.reason"
CONNECTION_CREATED: Final = "mongodb.client.connection.created"
RETRY_COUNT: Final = "mongodb.client.retry.count"
HEARTBEAT_AWAITED: Final = "mongodb.client.heartbeat.awaited"
REPLICA_SET_NAME: Final = "mongodb.replica_set.name"
SERVER_TYPE: Final = "mongodb.client.server.type"
SERVER_PREVIOUS_TYPE: Final = "mongodb.client.server.previous_type"
TOPOLOGY_ID: Final = "mongodb.client.topology.id"
TOPOLOGY_TYPE: Final = "mongodb.client.topology.type"
TOPOLOGY_PREVIOUS_TYPE: Final = "mongodb.client.topology.previous_type"
TOPOLOGY_WRITABLE: Final = "mongodb.client.topology.writable"
TOPOLOGY_READABLE: Final = "mongodb.client.topology.readable"
PLAN_FROM_CACHE: Final = "mongodb.query.plan.from_cache"
PLAN_HAS_SORT_STAGE: Final = "mongodb.query.plan.has_sort_stage"
PLAN_REJECTED: Final = "mongodb.query.plan.rejected"
PLAN_STAGES: Final = "mongodb.query.plan.stages"
PLAN_SUMMARY: Final = "mongodb.query.plan.summary"
PRIMARY_ADDRESS: Final = "mongodb.client.primary.address"
PRIMARY_PREVIOUS_ADDRESS: Final = "mongodb.client.primary.previous_address"
# Jaeger sorts the attributes of an event by name and shows as many as fit in a line. By this name
# what happened comes first.
CLUSTER_EVENT: Final = "cluster.event"

# What these conventions called attributes before they were stable, and what some backends want.
DB_SYSTEM: Final = "db.system"
DB_NAME: Final = "db.name"
DB_OPERATION: Final = "db.operation"
DB_MONGODB_COLLECTION: Final = "db.mongodb.collection"
DB_STATEMENT: Final = "db.statement"
NET_PEER_NAME: Final = "net.peer.name"
NET_PEER_PORT: Final = "net.peer.port"
NET_SOCK_PEER_ADDR: Final = "net.sock.peer.addr"
NET_SOCK_PEER_PORT: Final = "net.sock.peer.port"
PEER_SERVICE: Final = "peer.service"

# Spans.
SELECT_SERVER: Final = "select server"
CHECK_OUT_CONNECTION: Final = "check out connection"
TOPOLOGY_DISCOVERY: Final = "mongodb.topology.discovery"
TOPOLOGY_OUTAGE: Final = "mongodb.topology.outage"
TRANSACTION: Final = "transaction"

# Events.
EXCEPTION: Final = "exception"
CLIENT_TOPOLOGY_OPENED: Final = "mongodb.client.topology.opened"
CLIENT_TOPOLOGY_CLOSED: Final = "mongodb.client.topology.closed"
CLIENT_TOPOLOGY_DESCRIPTION_CHANGED: Final = "mongodb.client.topology.description_changed"
CLIENT_TOPOLOGY_PRIMARY_CHANGED: Final = "mongodb.client.topology.primary_changed"
CLIENT_SERVER_OPENED: Final = "mongodb.client.server.opened"
CLIENT_SERVER_CLOSED: Final = "mongodb.client.server.closed"
CLIENT_SERVER_DESCRIPTION_CHANGED: Final = "mongodb.client.server.description_changed"
CLIENT_SERVER_HEARTBEAT_FAILED: Final = "mongodb.client.server.heartbeat.failed"
CLIENT_QUERY_EXPLAINED: Final = "mongodb.client.query.explained"
CLIENT_POOL_CLEARED: Final = "mongodb.client.connection.pool.cleared"

# Metrics.
DB_CLIENT_RESPONSE_RETURNED_ROWS: Final = "db.client.response.returned_rows"
DB_CLIENT_CONNECTION_COUNT: Final = "db.client.connection.count"
DB_CLIENT_CONNECTION_MAX: Final = "db.client.connection.max"
DB_CLIENT_CONNECTION_IDLE_MIN: Final = "db.client.connection.idle.min"
DB_CLIENT_CONNECTION_PENDING_REQUESTS: Final = "db.client.connection.pending_requests"
DB_CLIENT_CONNECTION_TIMEOUTS: Final = "db.client.connection.timeouts"
DB_CLIENT_CONNECTION_CREATE_TIME: Final = "db.client.connection.create_time"
DB_CLIENT_CONNECTION_WAIT_TIME: Final = "db.client.connection.wait_time"
DB_CLIENT_CONNECTION_USE_TIME: Final = "db.client.connection.use_time"
MONGODB_CLIENT_EXPLAIN_DROPS: Final = "mongodb.client.query.explain.drops"
MONGODB_CLIENT_POOL_CLEARS: Final = "mongodb.client.connection.pool.clears"
MONGODB_CLIENT_CONNECTION_CLOSES: Final = "mongodb.client.connection.closes"
MONGODB_CLIENT_CHECKOUT_FAILURES: Final = "mongodb.client.connection.checkout.failures"
MONGODB_CLIENT_SERVER_STATUS: Final = "mongodb.client.server.status"
MONGODB_CLIENT_SERVER_RTT: Final = "mongodb.client.server.rtt"
MONGODB_CLIENT_HEARTBEAT_DURATION: Final = "mongodb.client.server.heartbeat.duration"
MONGODB_CLIENT_TOPOLOGY_STATUS: Final = "mongodb.client.topology.status"
MONGODB_CLIENT_TOPOLOGY_SERVERS: Final = "mongodb.client.topology.servers"
MONGODB_CLIENT_TOPOLOGY_WRITABLE: Final = "mongodb.client.topology.writable"
MONGODB_CLIENT_TOPOLOGY_READABLE: Final = "mongodb.client.topology.readable"
MONGODB_CLIENT_TOPOLOGY_DESCRIPTION_CHANGES: Final = "mongodb.client.topology.description_changes"
MONGODB_CLIENT_TOPOLOGY_PRIMARY_CHANGES: Final = "mongodb.client.topology.primary_changes"
MONGODB_CLIENT_TOPOLOGY_OUTAGE_DURATION: Final = "mongodb.client.topology.outage.duration"
MONGODB_CLIENT_INSTANCES: Final = "mongodb.client.instances"

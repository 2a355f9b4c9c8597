"""Expressions for Prometheus, and what they select."""

from __future__ import annotations

# Where alerts.yml begins to warn.
SLOW = 0.5  # Seconds.
MANY_ERRORS = 0.05
# What it leaves out of the error ratio.
EXPECTED = (
    "DuplicateKey|DuplicateKeyError|IndexNotFound|NamespaceExists|NamespaceNotFound|WriteConflict"
)

# What the variables choose.
PROCESSES = 'job=~"$service", instance=~"$instance"'
SETS = f'{PROCESSES}, mongodb_replica_set_name=~"$replica_set"'
COMMANDS = f'{PROCESSES}, db_namespace=~"$database", db_collection_name=~"$collection"'
# A getMore may wait for new documents, and a failure for a server that is not there.
PROMPT = f'{COMMANDS}, error_type="", db_operation_name!="getMore"'

DURATION = "db_client_operation_duration_seconds"
SELECTION = "mongodb_client_server_selection_duration_seconds"
HEARTBEAT = "mongodb_client_server_heartbeat_duration_seconds"
OUTAGE = "mongodb_client_topology_outage_duration_seconds"
ROWS = "db_client_response_returned_rows"

COLLECTION = "db_namespace, db_collection_name"
OF_COLLECTION = "{{db_namespace}}.{{db_collection_name}}"
POOL = "instance, db_client_connection_pool_name"
OF_POOL = "{{instance}} {{db_client_connection_pool_name}}"
SERVER = "server_address, server_port"
OF_SERVER = "{{server_address}}:{{server_port}}"
REPLICA_SET = "mongodb_replica_set_name"
OF_REPLICA_SET = "{{mongodb_replica_set_name}}"

TOP = "Only the $top highest at each moment."
PROMPT_NOTE = "Without failures, and without getMore, which may wait for new documents."
# What a link to traces searches for.
THIS_COLLECTION = (
    "db.namespace=${__field.labels.db_namespace} "
    "db.collection.name=${__field.labels.db_collection_name}"
)


def rate(counter: str, selector: str, by: str = "") -> str:
    """How often a second something happens."""
    return f"sum {_by(by)}(rate({counter}{{{selector}}}[$__rate_interval]))"


def number(histogram: str, selector: str, by: str) -> str:
    """How often something happened in the time shown, if its series begin with the first time."""
    now = f"{histogram}_count{{{selector}}}"
    # The hour lets a series that was interrupted, by a failed scrape, not be new.
    before = f"last_over_time({now}[1h] offset $__range)"
    return f"sum by ({by}) (clamp_min({now} - ({before} or {now} * 0), 0))"


def increase(counter: str, selector: str, by: str = "") -> str:
    """How often something happened in the time shown."""
    return f"sum {_by(by)}(increase({counter}{{{selector}}}[$__range]))"


def percentile(number: int, histogram: str, selector: str, by: str = "") -> str:
    """What so many in a hundred do not exceed."""
    buckets = rate(f"{histogram}_bucket", selector, f"le, {by}" if by else "le")
    return f"histogram_quantile({number / 100:g}, {buckets})"


def mean(histogram: str, selector: str, by: str) -> str:
    """The mean of all measurements."""
    total, count = (rate(f"{histogram}_{part}", selector, by) for part in ("sum", "count"))
    return f"{total} / {count}"


def error_ratio(by: str = "") -> str:
    """The part of commands that fail as MongoDBErrorRatio has it: not expected, not retried."""
    unexpected = f'{failed(COMMANDS)}, mongodb_client_error_name!~"{EXPECTED}"'
    failures = rate(f"{DURATION}_count", unexpected, by)
    all_of_them = rate(f"{DURATION}_count", COMMANDS, by)
    retried = rate("mongodb_client_retries_total", COMMANDS, by)
    left = f"clamp_min(({failures} or {all_of_them} * 0) - ({retried} or {all_of_them} * 0), 0)"
    return f"{left} / {all_of_them}"


def top(expression: str) -> str:
    """The highest of what may be thousands."""
    return f"topk($top, {expression})"


def instances(gauge: str) -> str:
    """How many instances of a replica set have a value."""
    return f"count by ({REPLICA_SET}) ({gauge})"


def failed(selector: str) -> str:
    """Only what failed."""
    return f'{selector}, error_type!=""'


def _by(by: str) -> str:
    return f"by ({by}) " if by else ""

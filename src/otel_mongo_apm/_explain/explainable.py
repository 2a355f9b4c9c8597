"""Which commands can be explained, and the `explain` command for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from otel_mongo_apm._driver.documents import EXPLAIN

# The field that contains a batch of writes. A server explains only a batch of one write.
_BATCHES: Mapping[str, str] = {"delete": "deletes", "update": "updates"}
_READS = frozenset({"aggregate", "count", "distinct", "find"})
EXPLAINED_COMMANDS = frozenset({*_READS, *_BATCHES, "findAndModify", "findandmodify"})

# Stages that write, or that open a cursor that never ends.
_NOT_EXPLAINED_STAGES = frozenset({"$changeStream", "$merge", "$out"})

_IN_A_TRANSACTION = frozenset({"autocommit", "startTransaction"})

# Fields that must not be copied into the `explain` command.
_LEFT_OUT = frozenset(
    {
        *("$clusterTime", "$db", "$readPreference", "lsid", "signature", "txnNumber"),
        *("apiDeprecationErrors", "apiStrict", "apiVersion"),
        *("comment", "maxTimeMS", "readConcern", "writeConcern"),
        *("awaitData", "bypassDocumentValidation", "noCursorTimeout", "stmtId", "tailable"),
    }
)


def explanation_of(name: str, command: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the `explain` command, which does not run the query; None if it cannot be explained.

    >>> explanation_of("find", {"find": "orders", "filter": {"total": 3}, "$db": "shop"})
    {'explain': {'find': 'orders', 'filter': {'total': 3}}, 'verbosity': 'queryPlanner'}
    >>> explanation_of("insert", {"insert": "orders"})
    >>> explanation_of("aggregate", {"aggregate": "orders", "pipeline": [{"$out": "totals"}]})
    """
    if name not in EXPLAINED_COMMANDS or not _IN_A_TRANSACTION.isdisjoint(command):
        return None
    if name == "aggregate" and not _only_reads(command.get("pipeline")):
        return None
    if (field := _BATCHES.get(name)) and not _has_one(command.get(field)):
        return None
    explained = {key: value for key, value in command.items() if key not in _LEFT_OUT}
    return {EXPLAIN: explained, "verbosity": "queryPlanner"}


def _only_reads(pipeline: Any) -> bool:
    if not isinstance(pipeline, list | tuple):
        return False
    return all(
        isinstance(stage, Mapping) and _NOT_EXPLAINED_STAGES.isdisjoint(stage) for stage in pipeline
    )


def _has_one(batch: Any) -> bool:
    return isinstance(batch, list | tuple) and len(batch) == 1

"""Runs cases: what they begin with, their operations, the spans and the outcome they expect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.trace import SpanKind
from pymongo import ReadPreference, WriteConcern
from pymongo.read_concern import ReadConcern

from otel_mongo_apm import MongoInstrumentor

from .cases import check_format
from .entities import Entities
from .errors import MismatchError, UnsupportedError, check_known
from .matching import Matcher
from .operations import perform
from .spans import match_spans, trees

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from client_kinds import ClientKind
    from in_memory import InMemoryTelemetry
    from opentelemetry.sdk.trace import ReadableSpan
    from pymongo import MongoClient

    from .cases import Case

MESSAGES_KEYS = {"client", "ignoreExtraSpans", "spans"}
LONG = 1_000_000  # In characters.
ALL_ENDED = "spans that ended"
PSEUDO_OPERATION = "transaction"


class Runner:
    """Runs cases with one kind of client.

    Args:
        kind: The kind of client.
        uri: Where the servers are.
        control: A client that nothing observes.
        telemetry: Where the spans of the observed client come to.
        settings: How it is instrumented.
    """

    def __init__(
        self,
        kind: ClientKind,
        uri: str,
        control: MongoClient[Any],
        telemetry: InMemoryTelemetry,
        settings: Mapping[str, Any],
    ) -> None:
        self._kind = kind
        self._uri = uri
        self._control = control
        self._telemetry = telemetry
        self._settings = settings

    def run(self, case: Case) -> None:
        """Run a case.

        Raises:
            MismatchError: Something is not as it expects.
            UnsupportedError: It asks for something that is not known.
        """
        check_format(case)
        for collection in case.file.get("initialData", ()):
            self._fill(collection)
        try:
            self._kind.run(self._run(case))
        finally:
            self._control.admin.command("configureFailPoint", "failCommand", mode="off")
        for collection in case.test.get("outcome", ()):
            self._check_outcome(collection)
        self._check_that_all_ended()

    async def _run(self, case: Case) -> None:
        cluster_time = self._control.admin.command("ping").get("$clusterTime")
        entities = Entities(self._kind, self._uri, self._observe, cluster_time)
        try:
            await entities.create(case.file.get("createEntities", ()))
            for operation in case.operations:
                await perform(operation, entities)
            spans = self._telemetry.spans  # Before closing has any.
        finally:
            await entities.close()
        for expected in case.test.get("expectTracingMessages", ()):
            self._check_spans(expected, spans, entities)

    def _observe(self, tracing: Mapping[str, Any], make: Callable[[], Any]) -> Any:
        """Make a client under `instrument()`; those made before it are never seen."""
        payload = tracing.get("enableCommandPayload")
        text = {"query_text": "raw", "query_text_max_length": LONG} if payload else {}
        MongoInstrumentor().instrument(**self._telemetry.providers, **self._settings, **text)
        return make()

    def _check_spans(
        self, expected: Mapping[str, Any], spans: Iterable[ReadableSpan], entities: Entities
    ) -> None:
        check_known(expected, MESSAGES_KEYS, "key of expectTracingMessages")
        if expected["client"] != entities.observed:
            raise UnsupportedError(expected["client"], "observed client")
        match_spans(
            expected["spans"],
            trees(spans),
            Matcher(entities.session_ids),
            ignore_extra=expected.get("ignoreExtraSpans", False),
        )

    def _check_that_all_ended(self) -> None:
        started, ended = self._telemetry.started_and_ended
        if started != ended:
            raise MismatchError(ALL_ENDED, started, ended)

    def _fill(self, collection: Mapping[str, Any]) -> None:
        made = self._collection(collection)
        made.drop()
        if collection["documents"]:
            made.insert_many(collection["documents"])
        else:
            made.database.create_collection(made.name, **collection.get("createOptions", {}))

    def _check_outcome(self, collection: Mapping[str, Any]) -> None:
        found = list(self._collection(collection).find({}, sort=[("_id", 1)]))
        # Exactly: the documents are no roots.
        Matcher().match(collection["documents"], found, "outcome")

    def _collection(self, collection: Mapping[str, Any]) -> Any:
        return self._control.get_database(
            collection["databaseName"],
            read_preference=ReadPreference.PRIMARY,
            read_concern=ReadConcern("local"),
            write_concern=WriteConcern("majority"),
        )[collection["collectionName"]]


def check_rules(spans: Iterable[ReadableSpan]) -> None:
    """Look at what the specification demands of all spans, and no case can say."""
    for span in spans:
        name, attributes = span.name, dict(span.attributes or {})
        if name == PSEUDO_OPERATION and attributes != {"db.system.name": "mongodb"}:
            raise MismatchError(name, "db.system.name alone", attributes)
        if is_of_database(attributes) and span.kind is not SpanKind.CLIENT:
            raise MismatchError(name, SpanKind.CLIENT, span.kind)


def is_of_database(attributes: Mapping[str, Any]) -> bool:
    return bool({"db.command.name", "db.operation.name"} & attributes.keys())

"""All that is emitted, against OpenTelemetry's semantic conventions 1.45 and our own document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pymongo
import pytest
from client_kinds import KINDS
from complaints import wrong_cluster_span, wrong_command, wrong_events, wrong_metric, wrong_wait
from conventions import COMMAND_SPAN, METRICS, OF_COLLECTIONS, OPT_IN
from documented import CLUSTER, OF_COMMANDS, OF_WAITS, OUR_METRICS, WAITS
from in_memory import InMemoryTelemetry
from opentelemetry.trace import SpanKind
from workload import SECRETS, AtCreation, Emitted, Work

from otel_mongo_apm import MongoInstrumentor
from otel_mongo_apm._settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


# The servers are configured by their addresses; tests/wire has look-ups.
LOOKUPS = {"look up SRV record"}


@pytest.fixture(scope="module", params=KINDS)
def emitted(request, mongodb_uri) -> Iterator[Emitted]:
    """What one kind of client emits, with everything on."""
    telemetry, at_creation = InMemoryTelemetry(), AtCreation()
    telemetry.tracer_provider.add_span_processor(at_creation)
    with pytest.MonkeyPatch.context() as patch, pymongo.MongoClient(mongodb_uri) as control:
        for variable in settings.VARIABLES.values():
            patch.delenv(variable, raising=False)
        control.drop_database("semconv")
        MongoInstrumentor().instrument(
            **telemetry.providers,
            wait_span_threshold=0,
            pool_use_time=True,
            returned_rows="both",
        )
        work = Work(request.param, mongodb_uri, control, telemetry)
        request.param.run(work.do())
        MongoInstrumentor().uninstrument()
    spans = tuple(span for span in telemetry.spans if span.name != "request")
    yield Emitted(spans, at_creation.attributes, work.metrics)
    telemetry.shutdown()


def complaints(things: Iterable[Any], wrong: Callable[[Any], Iterable[str]]) -> set[str]:
    return {f"{thing.name}: {complaint}" for thing in things for complaint in wrong(thing)}


def test_commands(emitted):
    """The span of each command has the name, kind, status and attributes that it is to have."""
    commands = emitted.not_named(WAITS | CLUSTER)

    assert {span.attributes["db.operation.name"] for span in commands} >= OF_COLLECTIONS
    wrong = complaints(
        commands, lambda span: wrong_command(span, emitted.at_creation[span.context.span_id])
    )
    assert wrong == set()


def test_attributes_of_commands(emitted):
    """Every documented attribute is there somewhere; one of them is opt-in, and no other."""
    found = {name for span in emitted.not_named(WAITS | CLUSTER) for name in span.attributes}

    assert found == OF_COMMANDS
    assert {name for name in found if COMMAND_SPAN.get(name) == OPT_IN} == {
        "db.response.returned_rows"  # As it is not stable yet. We have it on by default.
    }


def test_wait_spans(emitted):
    """Waits, in vain or not, have the spans that are documented."""
    waits = emitted.named(WAITS)

    assert {(span.name, span.kind) for span in waits} == {
        (name, kind) for name in WAITS - LOOKUPS for kind in (SpanKind.INTERNAL, SpanKind.CLIENT)
    }
    found = {name for span in waits for name in span.attributes}
    assert found == set(OF_WAITS) - {"dns.question.name"}
    assert complaints(waits, wrong_wait) == set()


def test_cluster_spans(emitted):
    """The cluster's spans are those that are documented."""
    cluster = emitted.named(CLUSTER)

    assert {span.name for span in cluster} == CLUSTER
    assert complaints(cluster, wrong_cluster_span) == set()


def test_events(emitted):
    """The events in spans, and their attributes, are those that are documented."""
    assert any(span.events for span in emitted.spans)
    assert complaints(emitted.spans, wrong_events) == set()


def test_metrics(emitted):
    """Each metric is of the kind, the unit and the buckets, with the attributes, it is to have."""
    assert complaints(emitted.metrics, wrong_metric) == set()


def test_all_metrics(emitted):
    """All metrics are there but the one that PyMongo has no number for."""
    names = {metric.name for metric in emitted.metrics}

    # PyMongo has no number for the first; the others are of look-ups and of explains.
    not_here = {"db.client.connection.idle.max", "dns.lookup.duration"}
    not_here |= {"mongodb.client.query.explain.drops"}
    assert names == (METRICS.keys() | OUR_METRICS.keys()) - not_here


def test_no_values(emitted):
    """No value that an application has sent is anywhere."""
    texts = [span.to_json() for span in emitted.spans]

    assert [secret for secret in SECRETS for text in texts if secret in text] == []


def test_scope(emitted):
    """Everything is of one scope, of the version of the conventions that it keeps to."""
    scopes = {
        (span.instrumentation_scope.name, span.instrumentation_scope.schema_url)
        for span in emitted.spans
    }

    assert scopes == {("otel_mongo_apm", "https://opentelemetry.io/schemas/1.45.0")}

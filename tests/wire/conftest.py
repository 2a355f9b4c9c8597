"""Clients of a scripted server, instrumented."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pymongo
import pytest
from in_memory import WAITS
from opentelemetry.sdk.trace import SpanProcessor
from scripted_server import ScriptedServer

from otel_mongo_apm import MongoInstrumentor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from in_memory import InMemoryTelemetry
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span
    from pymongo.collection import Collection


class _OpenSpans(SpanProcessor):
    """The names of the spans that have started and not ended."""

    def __init__(self) -> None:
        self.names: dict[int, str] = {}

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self.names[span.context.span_id] = span.name

    def on_end(self, span: ReadableSpan) -> None:
        del self.names[span.context.span_id]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """The primary of a replica set, to which writes are retried."""
    with ScriptedServer(replica_set="rs0") as server:
        yield server


@pytest.fixture
def instrumented(telemetry: InMemoryTelemetry) -> Iterator[None]:
    """Instrument all clients of the test. What they start has to end, and only once."""
    open_spans = _OpenSpans()
    telemetry.tracer_provider.add_span_processor(open_spans)
    MongoInstrumentor().instrument(**telemetry.providers, query_text="off")
    yield
    assert list(open_spans.names.values()) == []


@pytest.fixture
def client(instrumented: None, server: ScriptedServer) -> Iterator[pymongo.MongoClient]:
    with pymongo.MongoClient(server.uri) as client:
        yield client


@pytest.fixture
def users(client: pymongo.MongoClient) -> Collection:
    return client.shop.users


@pytest.fixture
def command_spans(telemetry: InMemoryTelemetry) -> Callable[[], list[ReadableSpan]]:
    """The spans of commands, first ended first; neither those of waits nor the cluster's."""

    def command_spans() -> list[ReadableSpan]:
        return [
            span
            for span in telemetry.spans
            if "db.namespace" in span.attributes and span.name not in WAITS
        ]

    return command_spans


@pytest.fixture
def attributes_of(server: ScriptedServer) -> Callable[[str], dict[str, Any]]:
    """What a command to `shop.users` is given from the start, in its span and when measured."""

    def attributes_of(command_name: str) -> dict[str, Any]:
        return {
            "db.system.name": "mongodb",
            "db.operation.name": command_name,
            "db.namespace": "shop",
            "db.collection.name": "users",
            "server.address": server.host,
            "server.port": server.port,
            "network.peer.address": server.host,
            "network.peer.port": server.port,
        }

    return attributes_of


@pytest.fixture
def durations(telemetry: InMemoryTelemetry) -> Callable[[], dict[tuple[str, str | None], int]]:
    """How many commands have been measured, by name and error."""

    def durations() -> dict[tuple[str, str | None], int]:
        return {
            (p.attributes["db.operation.name"], p.attributes.get("error.type")): p.data.count
            for p in telemetry.points("db.client.operation.duration")
        }

    return durations

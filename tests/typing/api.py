"""The public API as users write it; mypy and pyright check it, and nobody runs it.

Where a line must not pass, `type: ignore` says so, and the checkers complain if it does pass.
"""

from __future__ import annotations

from typing import Any, Literal

from motor.motor_asyncio import AsyncIOMotorClient
from opentelemetry.metrics import get_meter_provider
from opentelemetry.trace import Span, get_tracer_provider
from pymongo import AsyncMongoClient, MongoClient
from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
)
from typing_extensions import assert_type

from otel_mongo_apm import (
    FailedHook,
    MongoInstrumentor,
    RequestHook,
    ResponseHook,
    Settings,
    __version__,
    event_listeners,
    instrument_client,
)


def request_hook(span: Span, event: CommandStartedEvent) -> None:
    span.set_attribute("app.request_id", event.request_id)


def response_hook(span: Span, event: CommandSucceededEvent) -> None:
    span.set_attribute("app.ok", event.reply["ok"])


def failed_hook(span: Span, event: CommandFailedEvent) -> None:
    span.set_attribute("app.labels", event.failure.get("errorLabels", []))


request: RequestHook = request_hook
response: ResponseHook = response_hook
failed: FailedHook = failed_hook
wrong: FailedHook = request_hook  # type: ignore[assignment]

version: str = __version__


def by_hand() -> None:
    instrumentor = MongoInstrumentor()
    instrumentor.instrument(query_text="off", exclude_commands=["ping"], request_hook=request)
    instrumentor.uninstrument()


def by_client(own: CommandListener) -> None:
    listeners = event_listeners(query_text="off", tracer_provider=get_tracer_provider())
    client: MongoClient[dict[str, Any]] = MongoClient(event_listeners=[*listeners, own])
    assert_type(instrument_client(client, error_messages=True), None)
    asynchronous: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(event_listeners=listeners)
    instrument_client(asynchronous)


def by_motor(client: AsyncIOMotorClient[dict[str, Any]]) -> None:
    instrument_client(client, wait_span_threshold=1)


def with_settings(client: MongoClient[dict[str, Any]]) -> None:
    settings = Settings(query_text="off")
    MongoInstrumentor().instrument(settings, exclude_databases={"scratch"})
    event_listeners(settings, query_text=None)
    instrument_client(client, settings, events="none")


def wrong_uses(client: MongoClient[dict[str, Any]]) -> None:
    """Each of these is found, by both type checkers."""
    MongoInstrumentor().instrument(query_text="some")  # type: ignore[arg-type]
    MongoInstrumentor().instrument(request_hook=response_hook)  # type: ignore[arg-type]
    MongoInstrumentor().instrument(query="off")  # type: ignore[call-arg]
    event_listeners(metrics="off")  # type: ignore[arg-type]
    event_listeners(exclude_commands=5)  # type: ignore[arg-type]
    instrument_client(client, wait_span_threshold="50 ms")  # type: ignore[arg-type]
    instrument_client("mongodb://localhost")  # type: ignore[arg-type]
    instrument_client(client, {"query_text": "off"})  # type: ignore[arg-type]


def by_settings() -> None:
    settings = Settings(
        meter_provider=get_meter_provider(),
        request_hook=request_hook,
        query_text="raw",
        exclude_commands=frozenset({"ping"}),
        wait_span_threshold=0,
    )
    assert_type(settings.query_text, Literal["off", "sanitized", "raw"])
    assert_type(settings.metrics, bool)
    assert_type(settings.exclude_commands, frozenset[str])
    assert_type(settings.wait_span_threshold, float)
    assert_type(Settings.resolve(events="logs"), Settings)
    Settings(query_text="some")  # type: ignore[arg-type]
    Settings(metrics="off")  # type: ignore[arg-type]
    Settings(query="off")  # type: ignore[call-arg]
    Settings("off")  # type: ignore[arg-type, call-arg]
    settings.metrics = False  # type: ignore[misc]

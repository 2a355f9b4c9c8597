"""The keywords of the public functions, as type checkers and editors see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypedDict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry._logs import LoggerProvider
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from .hooks import FailedHook, RequestHook, ResponseHook


# A test checks that these are the fields of `Settings` and accept the same types.
class Keywords(TypedDict, total=False):
    """Every keyword of `event_listeners()` and `instrument_client()`: the fields of `Settings`.

    Also ``capture_statement``, for ``query_text="raw"``. ``None`` means "use the default".
    """

    tracer_provider: TracerProvider | None
    meter_provider: MeterProvider | None
    logger_provider: LoggerProvider | None
    request_hook: RequestHook | None
    response_hook: ResponseHook | None
    failed_hook: FailedHook | None
    span_convention: Literal["semconv", "mongodb"] | None
    command_spans: bool | None
    metrics: bool | None
    query_text: Literal["off", "sanitized", "raw"] | None
    query_text_max_length: int | None
    query_text_keys: Literal["kept", "masked"] | None
    error_messages: bool | None
    exclude_commands: Iterable[str] | None
    exclude_databases: Iterable[str] | None
    exclude_collections: Iterable[str] | None
    require_parent: bool | None
    wait_span_threshold: float | None
    events: Literal["span", "logs", "both", "none"] | None
    pool_metrics: bool | None
    pool_use_time: bool | None
    returned_rows: Literal["span", "metric", "both", "none"] | None
    on_conflict: Literal["warn", "replace", "defer"] | None
    topology_metrics: bool | None
    topology_listeners: bool | None
    bind_measurements: bool | None
    explain_slower_than: float | None
    comment_propagation: Literal["off", "trace"] | None
    peer_service: str | None
    capture_statement: bool | None


class InstrumentKeywords(Keywords, total=False):
    """Every keyword of `MongoInstrumentor.instrument()`; the last two are OpenTelemetry's own."""

    skip_dep_check: bool
    raise_exception_on_conflict: bool

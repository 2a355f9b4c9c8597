"""`Settings`: a keyword, or else an environment variable, or else the default."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from .environment import as_drivers_do, from_environment, variable, warn_once
from .kinds import (
    COLLECTIONS,
    COMMANDS,
    DATABASES,
    FLAG,
    HOOK,
    LENGTH,
    SECONDS,
    TEXT,
    Kind,
    choice,
    provider_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry._logs import LoggerProvider
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider
    from typing_extensions import Unpack

    from .hooks import FailedHook, RequestHook, ResponseHook
    from .keywords import Keywords


T = TypeVar("T")


def _setting(kind: Kind, default: T) -> T:
    """Declare a field of `Settings`; its type is that of its default, as in `dataclasses.field`."""
    setting: T = field(default=default, metadata={"kind": kind})
    return setting


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The settings of one `instrument()` call or one set of `event_listeners()`.

    Each field is also a keyword of `MongoInstrumentor.instrument()`, `event_listeners()` and
    `instrument_client()`, and a key in a file of OpenTelemetry's declarative configuration. Each
    field except the providers and hooks is also an environment variable, named
    ``OTEL_PYTHON_MONGO_APM_<NAME>``. ``None`` means "use the default".

    Args:
        tracer_provider: Provides the tracer. Default: the global tracer provider.
        meter_provider: Provides the meter. Default: the global meter provider.
        logger_provider: Provides the logger of log events. Default: the global logger provider.
        request_hook: Called with the span and the `CommandStartedEvent` of each recorded command.
            Default: None.
        response_hook: Called with the span and the `CommandSucceededEvent` of each recorded
            command. Default: None.
        failed_hook: Called with the span and the `CommandFailedEvent` of each recorded command.
            PyMongo 4.20.1 and later also report interrupted commands. Default: None.
        span_convention: ``"semconv"``: one span for each command, as OpenTelemetry's semantic
            conventions define it. ``"mongodb"``: the spans of MongoDB's drivers, one for each
            operation with the spans of its commands inside. Default: ``"semconv"``.
        command_spans: Create the spans of commands, waits, operations and transactions.
            Default: True.
        metrics: Record metrics. Default: True.
        query_text: The content of ``db.query.text``. ``"off"``: no text. ``"sanitized"``: the
            command with its values replaced. ``"raw"``: the command with all values. Default:
            ``"sanitized"``; with ``span_convention="mongodb"``, ``"off"``.
        query_text_max_length: The maximum length of ``db.query.text``, in characters. At least 1.
            Default: 1024.
        query_text_keys: ``"kept"`` or ``"masked"``: whether sanitized text contains the keys of
            documents. Default: ``"kept"``.
        error_messages: Include the server's error message in the status of failed spans. It can
            contain values of your users. Default: False, which shows the name of the error.
        exclude_commands: Names of commands without spans, such as ``ping``. Default: none.
        exclude_databases: Names of databases whose commands have no spans. Default: none.
        exclude_collections: Names of collections whose commands have no spans: ``users`` in every
            database, or ``shop.users`` in one. Default: none.
        require_parent: Create command spans and wait spans only inside a trace. Cluster spans are
            not affected. Default: False.
        wait_span_threshold: The duration, in seconds, from which a wait for a server or a
            connection has a span. Failed waits always have one. At least 0. Default: 0.01.
        events: Where cluster events go. ``"span"``: to spans and to Python's logging. ``"logs"``:
            to OpenTelemetry log events and to Python's logging. ``"both"``, or ``"none"``.
            Default: ``"span"``.
        pool_metrics: Record the metrics of connection pools. Default: True.
        on_conflict: What to do if opentelemetry-instrumentation-pymongo is also active.
            ``"warn"``: keep two spans for each command and log a warning. ``"replace"``: replace
            its listener in each client. ``"defer"``: leave the spans to it. Default: None, which
            replaces its listener and logs a warning.
        pool_use_time: Measure how long each connection is in use. Default: False.
        returned_rows: Where the number of documents in a reply is reported. ``"span"``: as an
            attribute of the command's span. ``"metric"``: as a metric. ``"both"``, or ``"none"``.
            Default: ``"span"``.
        topology_metrics: Record the metrics of servers, topology and heartbeats. Default: True.
        topology_listeners: Observe the cluster with PyMongo's own server and topology listeners
            instead of reading its description at each heartbeat. Default: False.
        bind_measurements: Make the most frequent measurements cheaper by calling internal
            functions of the SDK, if it is a known release. The metrics are the same. Default: True.
        explain_slower_than: The duration, in seconds, from which a command counts as slow. The
            queries of slow commands are explained afterwards. At least 0. Default: None, which
            explains no queries.
        comment_propagation: ``"trace"`` adds the trace context to the comment of each command, so
            you can find the trace in the server's slow query log, profiler and ``currentOp``.
            Default: ``"off"``.
        peer_service: The attribute ``peer.service`` of client spans. Some backends use it as the
            name of the database on their service maps. Default: None, which sets no attribute.

    Raises:
        TypeError: A field's value has a wrong type.
        ValueError: A field's value is invalid.
    """

    tracer_provider: TracerProvider | None = _setting(provider_of("get_tracer"), None)
    meter_provider: MeterProvider | None = _setting(provider_of("get_meter"), None)
    logger_provider: LoggerProvider | None = _setting(provider_of("get_logger"), None)
    request_hook: RequestHook | None = _setting(HOOK, None)
    response_hook: ResponseHook | None = _setting(HOOK, None)
    failed_hook: FailedHook | None = _setting(HOOK, None)
    span_convention: Literal["semconv", "mongodb"] = _setting(
        choice("semconv", "mongodb"), "semconv"
    )
    command_spans: bool = _setting(FLAG, default=True)
    metrics: bool = _setting(FLAG, default=True)
    query_text: Literal["off", "sanitized", "raw"] = _setting(
        choice("off", "sanitized", "raw"), "sanitized"
    )
    query_text_max_length: int = _setting(LENGTH, 1024)
    query_text_keys: Literal["kept", "masked"] = _setting(choice("kept", "masked"), "kept")
    error_messages: bool = _setting(FLAG, default=False)
    exclude_commands: frozenset[str] = _setting(COMMANDS, frozenset())
    exclude_databases: frozenset[str] = _setting(DATABASES, frozenset())
    exclude_collections: frozenset[str] = _setting(COLLECTIONS, frozenset())
    require_parent: bool = _setting(FLAG, default=False)
    wait_span_threshold: float = _setting(SECONDS, 0.010)
    events: Literal["span", "logs", "both", "none"] = _setting(
        choice("span", "logs", "both", "none"), "span"
    )
    pool_metrics: bool = _setting(FLAG, default=True)
    pool_use_time: bool = _setting(FLAG, default=False)
    returned_rows: Literal["span", "metric", "both", "none"] = _setting(
        choice("span", "metric", "both", "none"), "span"
    )
    on_conflict: Literal["warn", "replace", "defer"] | None = _setting(
        choice("warn", "replace", "defer"), None
    )
    topology_metrics: bool = _setting(FLAG, default=True)
    topology_listeners: bool = _setting(FLAG, default=False)
    bind_measurements: bool = _setting(FLAG, default=True)
    explain_slower_than: float | None = _setting(SECONDS, None)
    comment_propagation: Literal["off", "trace"] = _setting(choice("off", "trace"), "off")
    peer_service: str | None = _setting(TEXT, None)

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = getattr(self, setting.name)
            value = setting.default if value is None else _checked(setting.name, value)
            object.__setattr__(self, setting.name, value)

    @classmethod
    def resolve(cls, settings: Settings | None = None, /, **keywords: Unpack[Keywords]) -> Settings:
        """Combine keywords, environment variables and defaults, in this order of precedence.

        ``capture_statement=True`` is an alias for ``query_text="raw"``, known from
        opentelemetry-instrumentation-pymongo.

        Args:
            settings: Settings to use instead of environment variables and defaults.
            keywords: The fields of `Settings`.

        Raises:
            TypeError: A keyword is unknown, or its value has a wrong type.
            ValueError: A keyword's value is invalid.
        """
        if unknown := keywords.keys() - KINDS.keys():
            names = ", ".join(sorted(unknown))
            message = f"Unknown setting: {names}. Accepted: {', '.join(KINDS)}."
            raise TypeError(message)
        given = {name: value for name, value in keywords.items() if value is not None}
        if settings is not None:
            if not isinstance(settings, Settings):
                message = f"Not a Settings object: {settings!r}."
                raise TypeError(message)
            return _unlikely_warned_of(replace(settings, **without_alias(given)))
        found: dict[str, Any] = {**without_alias(from_environment(KINDS)), **without_alias(given)}
        if found.get("span_convention") == "mongodb":
            found = {**as_drivers_do(), **found}
        return _unlikely_warned_of(cls(**found))


# In seconds. Users who set more have usually meant milliseconds.
UNLIKELY_THRESHOLD = 5.0


def _unlikely_warned_of(settings: Settings) -> Settings:
    """Warn once of a value that is valid but probably a mistake, and return the settings."""
    seconds = settings.wait_span_threshold
    if seconds >= UNLIKELY_THRESHOLD:
        warn_once(
            f"wait_span_threshold={seconds:g} is in seconds: waits shorter than {seconds:g} s have"
            f" no spans. For {seconds:g} ms, set it to {seconds / 1000:g}."
        )
    return settings


# Every keyword and what it accepts: the fields, and an alias that is not a field.
KINDS: Mapping[str, Kind] = {
    **{setting.name: setting.metadata["kind"] for setting in fields(Settings)},
    "capture_statement": FLAG,
}
VARIABLES: Mapping[str, str] = {name: variable(name) for name, kind in KINDS.items() if kind.parse}


def _checked(name: str, value: Any) -> Any:
    kind = KINDS[name]
    try:
        return kind.check(value)
    except (TypeError, ValueError) as error:
        message = f"Invalid {name}: {value!r}. Accepted: {kind.accepted}."
        raise type(error)(message) from None


def without_alias(values: dict[str, Any]) -> dict[str, Any]:
    """Replace `capture_statement` by `query_text`, unless that is given as well."""
    if "capture_statement" in values and _checked(
        "capture_statement", values.pop("capture_statement")
    ):
        values.setdefault("query_text", "raw")
    return values

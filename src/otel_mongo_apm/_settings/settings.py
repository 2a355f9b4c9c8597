"""What a user may set: a keyword beats an environment variable, which beats the default."""

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
    """Declare a field of `Settings`; typed as its default, as `dataclasses.field` is."""
    setting: T = field(default=default, metadata={"kind": kind})
    return setting


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The settings of one `instrument()`, one `event_listeners()`.

    Every field is a keyword of both and, but for the providers and hooks, a variable
    ``OTEL_PYTHON_MONGO_APM_<NAME>``. A value that is not accepted raises `TypeError` or
    `ValueError`, naming those that are. ``None`` stands for the default.

    Args:
        tracer_provider: Makes the tracer. Default: the global one.
        meter_provider: Makes the meter. Default: the global one.
        logger_provider: Makes the logger of log events. Default: the global one.
        request_hook: Called with each recording span and its `CommandStartedEvent`.
        response_hook: Called with each recording span and its `CommandSucceededEvent`.
        failed_hook: Called with each recording span and its `CommandFailedEvent`.
        span_convention: Whose names and attributes spans have: a span for each command, as
            OpenTelemetry's semantic conventions have it, or as MongoDB's drivers do a span for
            each operation, too, with those of its commands inside.
        command_spans: Whether commands have spans; without them operations have none either.
        metrics: Whether anything is measured.
        query_text: Whether ``db.query.text`` is left out, has its values replaced, or is as sent.
            Default: ``sanitized``, and under the convention ``mongodb`` ``off``.
        query_text_max_length: How long ``db.query.text`` may be, in characters.
        query_text_keys: Whether the keys of sanitized documents are kept or replaced too.
        error_messages: Whether a failed span's description is the server's message, which can
            quote users' values, rather than the name of the error.
        exclude_commands: Commands that have no span, such as ``ping``.
        exclude_databases: Databases whose commands have no span.
        exclude_collections: Collections, ``users`` or ``shop.users``, whose commands have no span.
        require_parent: Whether what happens outside of any trace has no span; cluster spans,
            which are traces of their own, are not concerned.
        wait_span_threshold: How long a wait for a server or a connection is to last, in seconds,
            before it has a span; one that failed always has one.
        events: Whether cluster events are told in spans, as log events, both or not at all.
        pool_metrics: Whether connection pools are measured.
        on_conflict: What to do if opentelemetry-instrumentation-pymongo is active, too: warn that
            every command has two spans, replace its listener in each client, or leave all spans to
            it. Default: replace, with a warning.
        pool_use_time: Whether the use of each connection is measured, too.
        returned_rows: Whether the number of documents in a reply is an attribute of its command's
            span, a measurement, both or neither.
        topology_metrics: Whether servers, topology and heartbeats are measured.
        topology_listeners: Whether PyMongo's own listeners to servers and topologies tell what
            changes, rather than a look at each heartbeat.
        bind_measurements: Whether the SDK is spared most of the work of the most frequent
            measurements, by using its inside if it is a known release. They are the same.
        explain_slower_than: How long a command must take, in seconds, for its query to be explained
            afterwards; None, the default, to explain none.
        comment_propagation: Whether the comment of each command carries the trace context, so that
            the server's slow query log, profiler and ``currentOp`` lead to the trace.
        peer_service: The ``peer.service`` of client spans, which some backends name the database by
            on their service maps. Default: none.
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
        """Settings from keywords and, where none is given, from the environment.

        ``capture_statement=True`` is accepted for ``query_text="raw"``, as
        opentelemetry-instrumentation-pymongo has it.

        Args:
            settings: What to use instead of the environment and the defaults.
            keywords: The fields of `Settings`.

        Raises:
            TypeError: A keyword is unknown, or its value is of a wrong type.
            ValueError: A keyword's value is not among those accepted.
        """
        if unknown := keywords.keys() - KINDS.keys():
            message = f"Unknown: {', '.join(sorted(unknown))}. Accepted: {', '.join(KINDS)}."
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


# In seconds. Who says more has mostly meant milliseconds.
UNLIKELY_THRESHOLD = 5.0


def _unlikely_warned_of(settings: Settings) -> Settings:
    """The settings; of a value that is accepted and hardly meant is warned once."""
    seconds = settings.wait_span_threshold
    if seconds >= UNLIKELY_THRESHOLD:
        warn_once(
            f"wait_span_threshold={seconds:g} is in seconds: waits shorter than {seconds:g} s have"
            f" no spans. For {seconds:g} ms, set it to {seconds / 1000:g}."
        )
    return settings


# Every keyword and what it accepts: the fields, and an alias that is none.
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
        message = f"{name} accepts {kind.accepted}; it was {value!r}."
        raise type(error)(message) from None


def without_alias(values: dict[str, Any]) -> dict[str, Any]:
    """Replace `capture_statement`; where `query_text` is given beside it, that one counts."""
    if "capture_statement" in values and _checked(
        "capture_statement", values.pop("capture_statement")
    ):
        values.setdefault("query_text", "raw")
    return values

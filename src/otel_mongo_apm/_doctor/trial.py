"""A ping of a real server, and what telemetry it produces."""

from __future__ import annotations

import time
import warnings
from contextlib import nullcontext
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pymongo

from otel_mongo_apm._driver.clients import topology_description
from otel_mongo_apm._otel.outcome import Outcome
from otel_mongo_apm._setup.passed import event_listeners

from .secrets import Secrets, refusal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    from .memory import Measurements, Memory, Span

NO_SDK = "opentelemetry-sdk is not installed, so what is emitted goes nowhere and cannot be shown"


@dataclass
class Trial:
    """How a ping went.

    Args:
        servers: The servers that the client knew in the end, each with its type.
        milliseconds: How long the ping took, with all that the client did to get there.
        note: Why there is no telemetry to show.
        failure: Why it failed.
        problems: What PyMongo finds wrong with the URI.
    """

    servers: Mapping[str, str] = field(default_factory=dict)
    milliseconds: float | None = None
    note: str | None = None
    spans: Sequence[Span] = ()
    metrics: Sequence[Measurements] = ()
    failure: str | None = None
    problems: list[str] = field(default_factory=list)


def trial(uri: str, timeout: float, settings: Mapping[str, Any]) -> Trial:
    """Connect a client that is instrumented, run a ping, and see what came of it.

    Args:
        uri: The server's or the cluster's.
        timeout: How long all of it may take, in seconds.
        settings: The keywords of `Settings`.
    """
    result = Trial()
    if reason := refusal(uri):
        result.failure = f"The URI was not used. {reason}"
        return result
    secrets = Secrets(uri)
    with warnings.catch_warnings(record=True) as warned, Outcome() as outcome:
        warnings.simplefilter("always")
        _run(uri, timeout, settings, result)
    result.problems += [
        secrets.withheld(f"PyMongo warns of the URI: {each.message}")
        for each in warned
        if each.category is UserWarning
    ]
    if outcome.error:
        result.failure = f"The ping failed. {_description(outcome.error, secrets)}"
    return result


def _description(error: Exception, secrets: Secrets) -> str:
    # PyMongo repeats itself in the description of the topology.
    message, _, _ = str(error).partition(", Topology Description")
    return f"{type(error).__qualname__}: {secrets.withheld(message)}"


def _run(uri: str, timeout: float, settings: Mapping[str, Any], result: Trial) -> None:
    memory = _memory()
    if memory is None:
        result.note = NO_SDK
    client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(
        uri, event_listeners=event_listeners(**_providers(memory), **settings)
    )
    try:
        _ping(client, timeout, memory, result)
    finally:
        result.servers = _servers(client)
        # What is observed is gone when the client is closed; some spans are there only then.
        result.metrics = memory.measurements() if memory else ()
        client.close()
        result.spans = memory.spans() if memory else ()


def _ping(
    client: pymongo.MongoClient[dict[str, Any]],
    timeout: float,
    memory: Memory | None,
    result: Trial,
) -> None:
    began = time.monotonic()
    with _trace(memory), pymongo.timeout(timeout):
        client.admin.command("ping")
    result.milliseconds = (time.monotonic() - began) * 1000


def _memory() -> Memory | None:
    """An SDK, if there is one."""
    with Outcome() as outcome:
        import_module("opentelemetry.sdk.trace")
    if outcome.error:
        return None
    memory: Memory = import_module(".memory", __package__).Memory()
    return memory


def _providers(memory: Memory | None) -> dict[str, Any]:
    if memory is None:
        return {}
    return {
        "tracer_provider": memory.tracer_provider,
        "meter_provider": memory.meter_provider,
    }


def _trace(memory: Memory | None) -> AbstractContextManager[object]:
    """A trace for the ping, since with `require_parent` it has no span outside of one."""
    if memory is None:
        return nullcontext()
    tracer = memory.tracer_provider.get_tracer("trial")
    return tracer.start_as_current_span("trial", record_exception=False)


def _servers(client: pymongo.MongoClient[dict[str, Any]]) -> dict[str, str]:
    description = topology_description(client)
    servers = description.server_descriptions() if description else {}
    return {
        host if port is None else f"{host}:{port}": server.server_type_name
        for (host, port), server in servers.items()
    }

"""What OpenTelemetry's SDK exports by its variables, where to, and what keeps it from that."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies

from .endpoint import Endpoint, answers
from .installed import installed_version

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIGNALS = ("traces", "metrics", "logs")
_GRPC, _HTTP = "otlp_proto_grpc", "otlp_proto_http"
_PROTOCOLS = {"grpc": _GRPC, "http/protobuf": _HTTP}
_DEFAULT_PORTS = {_GRPC: 4317, _HTTP: 4318}
_SCHEME_PORTS = {"http": 80, "https": 443}
# What the SDK calls samplers that sample nothing, and what is said of them.
_NEVER = {
    "always_off": "no span is sampled",
    "parentbased_always_off": "no span is sampled unless its caller's is",
}
_BY_RATIO = ("traceidratio", "parentbased_traceidratio")


@dataclass(frozen=True)
class Export:
    """What is done with one signal.

    Args:
        signal: ``traces``, ``metrics`` or ``logs``.
        exporter: The name of an exporter, as the SDK's variable has it; ``none`` for none.
        endpoint: Host and port that it sends to, if that is known.
        problem: Why nothing arrives there.
    """

    signal: str
    exporter: str
    endpoint: str | None = None
    problem: str | None = None


def nothing_sets_up_sdk() -> bool:
    """Whether there is an SDK, but nothing that sets it up under `opentelemetry-instrument`."""
    has_sdk = installed_version("opentelemetry-sdk") is not None
    return has_sdk and not entry_points(group="opentelemetry_configurator")


def exports() -> list[Export]:
    """What `opentelemetry-instrument` exports; nothing if there is no SDK that it could set up."""
    if not installed_version("opentelemetry-sdk") or nothing_sets_up_sdk():
        return []
    if os.environ.get("OTEL_CONFIG_FILE"):
        return []
    return [export for signal in _SIGNALS for export in _exports(signal)]


def sdk_problems() -> Iterator[str]:
    """Yield what the SDK's variables turn off."""
    if _variable("OTEL_SDK_DISABLED").lower() == "true":
        yield "OTEL_SDK_DISABLED=true: there are no spans, no metrics and no log events."
        return
    if nothing_sets_up_sdk():
        yield from _variables_without_effect()
    elif os.environ.get("OTEL_CONFIG_FILE"):  # Then the SDK reads no other variable.
        return
    elif _variable("OTEL_TRACES_EXPORTER").lower() == "none":
        yield "OTEL_TRACES_EXPORTER=none: no traces are exported."
    sampler = _variable("OTEL_TRACES_SAMPLER").lower()
    if sampler in _NEVER:
        yield f"OTEL_TRACES_SAMPLER={sampler}: {_NEVER[sampler]}."
    with suppress(ValueError):
        if sampler in _BY_RATIO and float(_variable("OTEL_TRACES_SAMPLER_ARG") or 1) == 0:
            yield f"OTEL_TRACES_SAMPLER_ARG=0 for the sampler {sampler}: no span is sampled."


def _variables_without_effect() -> Iterator[str]:
    exporters = [f"OTEL_{signal.upper()}_EXPORTER" for signal in _SIGNALS]
    for variable in (*exporters, "OTEL_CONFIG_FILE"):
        if _variable(variable).lower() not in {"", "none"}:
            yield (
                f"{variable} has no effect under opentelemetry-instrument:"
                " install opentelemetry-distro, which sets up the SDK."
            )


def _exports(signal: str) -> Iterator[Export]:
    # The default of opentelemetry-distro; others that set up the SDK may have another.
    default = "otlp" if installed_version("opentelemetry-distro") else "none"
    variable = f"OTEL_{signal.upper()}_EXPORTER"
    for name in (_variable(variable) or default).split(","):
        exporter = name.strip()
        entry_point = _entry_point(signal, exporter)
        if exporter == "none":
            yield Export(signal, exporter)
        elif not entry_points(group=f"opentelemetry_{signal}_exporter", name=entry_point):
            missing = f"{variable}: no installed package has an exporter of the name {exporter!r}."
            if entry_point in _DEFAULT_PORTS:
                missing = f"The exporter of {signal} is otlp: install opentelemetry-exporter-otlp."
            yield Export(signal, exporter, problem=missing)
        elif entry_point in _DEFAULT_PORTS:
            yield _sent(signal, exporter, entry_point)
        else:
            yield Export(signal, exporter)


def _entry_point(signal: str, exporter: str) -> str:
    if exporter != "otlp":
        return exporter
    protocol = _of(signal, "PROTOCOL") or "grpc"
    return _PROTOCOLS.get(protocol, protocol)


def _sent(signal: str, exporter: str, entry_point: str) -> Export:
    """An export by OTLP; what the URL holds besides host and port may be secret."""
    url = _of(signal, "ENDPOINT") or f"http://localhost:{_DEFAULT_PORTS[entry_point]}"
    try:
        parts = urlsplit(url if "://" in url else f"//{url}")
        port = parts.port or _SCHEME_PORTS.get(parts.scheme, _DEFAULT_PORTS[entry_point])
    except ValueError:
        return Export(signal, exporter, problem=f"The endpoint of {signal} is not a URL.")
    endpoint = Endpoint(parts.hostname or "localhost", port)
    if parts.scheme in getproxies() or answers(endpoint):  # A proxy may reach what we cannot.
        return Export(signal, exporter, str(endpoint))
    problem = f"Nothing answers at {endpoint}, the endpoint that telemetry is exported to."
    return Export(signal, exporter, str(endpoint), problem)


def _of(signal: str, what: str) -> str:
    own = _variable(f"OTEL_EXPORTER_OTLP_{signal.upper()}_{what}")
    return own or _variable(f"OTEL_EXPORTER_OTLP_{what}")


def _variable(name: str) -> str:
    return os.environ.get(name, "").strip()

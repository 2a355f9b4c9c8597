"""A diagnosis as a text for people."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from .diagnosis import Diagnosis
    from .exporters import Export
    from .installed import Distribution
    from .memory import Measurements, Span
    from .sources import Setting
    from .trial import Trial


_NO_DISTRO = (
    "nothing, unless the application sets up the SDK:"
    " opentelemetry-distro, which would do it, is not installed"
)


def text(found: Diagnosis, *, is_verbose: bool = False) -> str:
    """Write down what was found, the problems last; if verbose, what of PyMongo is wrapped, too."""
    return "\n".join(_lines(found, is_verbose=is_verbose))


def _lines(found: Diagnosis, *, is_verbose: bool) -> Iterator[str]:
    yield f"otel-mongo-apm {found.package}, Python {found.python}"
    yield from _section("Installed", _table(map(_installed, found.installed)))
    yield from _section(
        "Instrumented", [*found.instrumented, f"opentelemetry-instrument {found.automatic}"]
    )
    if found.native_tracing:
        yield from _section("PyMongo's own tracing", [found.native_tracing])
    yield from _section("Settings", _table(map(_setting, found.settings)))
    exported = [_NO_DISTRO] if found.lacks_distro else list(_table(map(_export, found.exports)))
    if exported:
        yield from _section("Exported under opentelemetry-instrument", exported)
    if found.hooks and is_verbose:
        yield from _section("Wrapped methods of PyMongo", found.hooks.found)
        yield from _section("Missing in PyMongo", found.hooks.missing or ["nothing"])
    tracing = [*filter(None, [found.conflict]), *found.others]
    yield from _section("Others that trace PyMongo", tracing or ["none"])
    if found.trial:
        yield from _trial(found.trial)
    yield from _section("Problems", found.problems or ["none"])


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    yield from ("", title)
    yield from (f"  {line}" for line in lines)


def _table(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def _installed(distribution: Distribution) -> tuple[str, str, str]:
    name, installed = distribution.name, distribution.installed
    if not installed:
        return name, "-", "not installed"
    if not distribution.supported:
        return name, installed, ""
    is_supported = "supported" if distribution.is_supported else "NOT SUPPORTED"
    return name, installed, f"{is_supported} ({distribution.supported})"


def _setting(setting: Setting) -> tuple[str, str, str]:
    value = setting.value
    shown = ", ".join(sorted(value)) or "none" if isinstance(value, frozenset) else str(value)
    return setting.name, shown, setting.source


def _export(export: Export) -> tuple[str, str, str]:
    where = f"to {export.endpoint}" if export.endpoint else ""
    return export.signal, export.exporter, where if not export.problem else f"{where} (fails)"


def _trial(trial: Trial) -> Iterator[str]:
    how = trial.failure or f"The ping took {trial.milliseconds:.1f} ms."
    servers = [f"{address}  {kind}" for address, kind in trial.servers.items()]
    yield from _section("Ping", [how, *servers])
    if trial.note:
        yield from _section("Spans and metrics", [trial.note])
        return
    yield from _section("Spans", [line for span in trial.spans for line in _span(span)] or ["none"])
    lines = [line for each in trial.metrics for line in _measurements(each)]
    yield from _section("Metrics", lines or ["none"])


def _span(span: Span) -> Iterator[str]:
    yield f"{span.name}  {span.kind}  {span.status}  {span.milliseconds:.1f} ms"
    if span.attributes:
        yield f"    {_attributes(span.attributes)}"
    for event, same in groupby(span.events):
        times = len(list(same))
        again = f"  ({times} times)" if times > 1 else ""
        yield f"    {event.name}{again}  {_attributes(event.attributes)}".rstrip()


def _measurements(measurements: Measurements) -> Iterator[str]:
    yield f"{measurements.name}  {measurements.unit}"
    for point in measurements.points:
        measured = "  ".join(f"{name} {value:.6g}" for name, value in point.measured.items())
        yield f"    {measured}  {_attributes(point.attributes)}".rstrip()


def _attributes(attributes: Mapping[str, Any]) -> str:
    return "  ".join(f"{name}={value}" for name, value in attributes.items())

"""A real OpenTelemetry Collector, with the components that the recipes use.

with collector(directory, LISTEN="127.0.0.1:4318"):
    run(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:4318")
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from local_mongodb import eventually
from local_program import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

READY = "Everything is ready"  # What its log says.
INSTALLED = Path.home() / "go" / "bin" / "otelcol"


def otelcol() -> Path:
    """Find it: `$OTELCOL`, or on `$PATH`, or where `make otelcol-binary` puts it; else skip."""
    found = os.environ.get("OTELCOL") or shutil.which("otelcol") or INSTALLED
    if not Path(found).exists():
        is_given_up = "otelcol" in os.environ.get("CI_WITHOUT", "").split()
        if os.environ.get("CI") and shutil.which("go") and not is_given_up:
            pytest.fail("No Collector: run `make otelcol-binary`")
        pytest.skip(
            "No Collector: set $OTELCOL to its program, or with Go run `make otelcol-binary`"
        )
    return Path(found)


@contextmanager
def collector(directory: Path, **variables: str) -> Iterator[None]:
    """Run it with the `collector.yaml` of a directory."""
    (workspace := directory / "otelcol").mkdir()
    command = [otelcol(), "--config", directory / "collector.yaml"]
    with serving(command, workspace, {**os.environ, **variables}) as program:
        eventually(lambda: READY in program.log.read_text(), "a Collector")
        yield

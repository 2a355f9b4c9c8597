"""The book shop of `examples/jaeger`, served on this machine under `opentelemetry-instrument`.

with shop(uri, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint) as url, customers(url):
    time.sleep(10)
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from local_mongodb import HOST, free_port
from local_program import serving, workspace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DIRECTORY = Path(__file__).parent / "jaeger"
DISABLED = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"
PYTHON = Path(sys.executable)


def environment(
    uri: str, port: int, inherited: Mapping[str, str], settings: Mapping[str, str]
) -> dict[str, str]:
    """Have no telemetry but what is asked for, by the user or by the settings."""
    disabled = [inherited.get(DISABLED, ""), "pymongo"]  # Should it be installed, too.
    return {
        "OTEL_SERVICE_NAME": "shop",
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        **inherited,
        DISABLED: ",".join(filter(None, disabled)),
        **settings,
        "MONGODB_URI": uri,
        "PORT": str(port),
    }


@contextlib.contextmanager
def shop(uri: str, **settings: str) -> Iterator[str]:
    """Serve, with variables of OpenTelemetry as settings; yield the URL."""
    port = free_port()
    url = f"http://{HOST}:{port}"
    command = [
        PYTHON.with_name("opentelemetry-instrument"),
        PYTHON,
        DIRECTORY / "shop.py",
    ]
    variables = environment(uri, port, os.environ, settings)
    with workspace("shop") as directory, serving(command, directory, variables) as program:
        program.wait_for(f"{url}/books")
        yield url


@contextlib.contextmanager
def customers(url: str, *options: str) -> Iterator[None]:
    """Send requests all the time; the options are those of `load.py`."""
    command = [PYTHON, DIRECTORY / "load.py", "--url", url, *options]
    with workspace("customers") as directory, serving(command, directory):
        yield

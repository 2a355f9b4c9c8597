"""A real Jaeger 2, started and stopped on this machine for tests and examples.

with jaeger() as backend:
    run(OTEL_EXPORTER_OTLP_ENDPOINT=backend.otlp_endpoint)
    print(backend.traces("quickstart"))
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local_mongodb import HOST, free_port
from local_program import ANSWER, serving, workspace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CONFIGURATION = Path(__file__).parent / "jaeger" / "jaeger.yaml"
INSTALLED = Path.home() / "go" / "bin" / "jaeger"
# What a Jaeger shows that was built without its web page.
PLACEHOLDER = b"not compiled with the UI assets"
LIMIT = 100_000  # As many traces as it keeps.


class JaegerUnavailableError(RuntimeError):
    """There is no Jaeger to start here."""


class Jaeger:
    """A Jaeger that runs, and the answers of its query API."""

    def __init__(self, ports: Mapping[str, int]) -> None:
        self.url = f"http://{HOST}:{ports['QUERY']}"
        self.otlp_endpoint = f"http://{HOST}:{ports['OTLP_GRPC']}"
        self.otlp_http_endpoint = f"http://{HOST}:{ports['OTLP_HTTP']}"

    @property
    def has_web_page(self) -> bool:
        """Whether there is something to look at in a browser."""
        return PLACEHOLDER not in self._read("/")

    def services(self) -> list[str]:
        """Name the services that it has traces of."""
        return sorted(self._query("services") or [])

    def operations(self, service: str) -> set[tuple[str, str]]:
        """Name the spans of a service, each with its kind."""
        found = self._query("operations", service=service)
        return {(operation["name"], operation["spanKind"]) for operation in found}

    def traces(self, service: str, **tags: str) -> list[dict[str, Any]]:
        """Return the traces of a service with these tags, each with its `spans` and `processes`."""
        wanted = {"tags": json.dumps(tags)} if tags else {}
        found: list[dict[str, Any]] = self._query(
            "traces", service=service, limit=str(LIMIT), **wanted
        )
        return found

    def _query(self, path: str, **parameters: str) -> Any:
        return json.loads(self._read(f"/api/{path}?{urllib.parse.urlencode(parameters)}"))["data"]

    def _read(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=ANSWER) as reply:  # noqa: S310
            content: bytes = reply.read()
            return content


def jaeger_path() -> Path:
    """Find Jaeger's program: `$JAEGER`, or on `$PATH`, or where `make jaeger-binary` puts it."""
    if chosen := os.environ.get("JAEGER"):
        return Path(chosen)
    if found := shutil.which("jaeger"):
        return Path(found)
    if INSTALLED.exists():
        return INSTALLED
    message = "No Jaeger: set $JAEGER to its program, or with Go run `make jaeger-binary`"
    raise JaegerUnavailableError(message)


@contextlib.contextmanager
def jaeger() -> Iterator[Jaeger]:
    """Run a Jaeger on free ports, with its traces in memory."""
    names = ("QUERY", "QUERY_GRPC", "OTLP_GRPC", "OTLP_HTTP")
    ports = {name: free_port() for name in names}
    environment = {
        **os.environ,
        **{f"JAEGER_{name}_PORT": str(port) for name, port in ports.items()},
    }
    command = [jaeger_path(), f"--config={CONFIGURATION}"]
    with workspace("jaeger") as directory, serving(command, directory, environment) as program:
        backend = Jaeger(ports)
        program.wait_for(f"{backend.url}/api/services")
        yield backend

"""A receiver of OTLP over HTTP: what real exporters have sent, as spans and metrics.

with otlp_receiver() as received:
    run(OTEL_EXPORTER_OTLP_ENDPOINT=received.endpoint)
    print(received.spans)
"""

from __future__ import annotations

import contextlib
import gzip
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from local_mongodb import HOST, eventually
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ERROR = 2  # The status of a span that failed.
PATIENCE = 30.0  # Seconds; exporters send every few seconds.


@dataclass
class ReceivedSpan:
    """A span as it came over the wire."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    scope: str
    failed: bool
    attributes: dict[str, Any]
    resource: dict[str, Any]


@dataclass
class ReceivedMetric:
    """An export of a metric: the attributes of its points."""

    name: str
    points: list[dict[str, Any]]
    resource: dict[str, Any]


@dataclass
class Received:
    """Everything that has come so far."""

    endpoint: str
    spans: list[ReceivedSpan] = field(default_factory=list)
    metrics: list[ReceivedMetric] = field(default_factory=list)
    logs: list[dict[str, Any]] = field(default_factory=list)

    def named(self, name: str) -> list[ReceivedSpan]:
        return [span for span in self.spans if span.name == name]

    def wait_for(self, name: str, count: int = 1) -> list[ReceivedSpan]:
        """Wait until as many spans of that name have come."""
        return eventually(
            lambda: found if len(found := self.named(name)) >= count else None,
            f"{count} spans {name}, among {sorted({span.name for span in self.spans})}",
            PATIENCE,
        )

    def wait_for_metric(self, name: str, count: int = 1) -> list[ReceivedMetric]:
        """Wait until a metric has come from as many instances of a service."""

        def found() -> list[ReceivedMetric] | None:
            exports = [metric for metric in self.metrics if metric.name == name]
            return exports if len(instances(exports)) >= count else None

        return eventually(found, f"{name} of {count} instances", PATIENCE)

    def parent(self, span: ReceivedSpan) -> ReceivedSpan:
        """Wait for the span that another one is inside of."""
        found = lambda: [other for other in self.spans if other.span_id == span.parent_id]  # noqa: E731
        return eventually(found, f"the parent of {span.name}", PATIENCE)[0]

    def accept(self, path: str, body: bytes) -> None:
        kind = path.rpartition("/")[2]
        {"traces": self._traces, "metrics": self._metrics, "logs": self._logs}[kind](body)

    def _traces(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                self.spans.extend(
                    ReceivedSpan(
                        span.name,
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        scope.scope.name,
                        span.status.code == ERROR,
                        _attributes(span),
                        _attributes(resource.resource),
                    )
                    for span in scope.spans
                )

    def _metrics(self, body: bytes) -> None:
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            for scope in resource.scope_metrics:
                self.metrics.extend(
                    ReceivedMetric(
                        metric.name,
                        [
                            _attributes(point)
                            for point in getattr(metric, metric.WhichOneof("data")).data_points
                        ],
                        _attributes(resource.resource),
                    )
                    for metric in scope.metrics
                )

    def _logs(self, body: bytes) -> None:
        for resource in ExportLogsServiceRequest.FromString(body).resource_logs:
            for scope in resource.scope_logs:
                self.logs.extend(
                    {
                        "body": record.body.string_value,
                        "event": record.event_name,
                        "trace_id": record.trace_id.hex(),
                        "span_id": record.span_id.hex(),
                        **_attributes(record),
                    }
                    for record in scope.log_records
                )


def instances(received: list[ReceivedMetric] | list[ReceivedSpan]) -> set[str]:
    """Which processes something came from, by the ID that each is to have."""
    return {each.resource["service.instance.id"] for each in received}


@contextlib.contextmanager
def http_server(accept: Callable[[str, bytes], bytes | None]) -> Iterator[str]:
    """Serve on a free port; *accept* gets each request's path and body and makes its reply."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            reply = accept(self.path, body) or b""
            self.send_response(200)
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def do_GET(self) -> None:
            self.do_POST()

        def do_PUT(self) -> None:
            self.do_POST()

        def log_message(self, *_: object) -> None:
            """Keep the tests' output short."""

    with ThreadingHTTPServer((HOST, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://{HOST}:{server.server_port}"
        finally:
            server.shutdown()


@contextlib.contextmanager
def otlp_receiver() -> Iterator[Received]:
    """Receive until the block ends."""
    received = Received("")
    with http_server(received.accept) as received.endpoint:
        yield received


def _attributes(described: Any) -> dict[str, Any]:
    return {
        each.key: getattr(each.value, each.value.WhichOneof("value") or "string_value")
        for each in described.attributes
    }

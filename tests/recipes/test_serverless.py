"""Lambda and notebooks: a process that is frozen between two calls, and cells."""

from __future__ import annotations

import json
import os
import queue
import signal
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import nbclient
import nbformat
import pytest
from local_mongodb import HOST

NEXT = "/2018-06-01/runtime/invocation/next"
# The exporters of a frozen process must not rely on time.
NEVER = {"OTEL_BSP_SCHEDULE_DELAY": "600000", "OTEL_METRIC_EXPORT_INTERVAL": "600000"}


class Lambda(BaseHTTPRequestHandler):
    """The API that Lambda offers to the runtime of a function."""

    protocol_version = "HTTP/1.1"
    invocations: queue.Queue[str]
    replies: queue.Queue[bytes]

    def do_GET(self):
        assert self.path == NEXT
        headers = {
            "Content-Type": "application/json",
            "Lambda-Runtime-Aws-Request-Id": self.invocations.get(),
            "Lambda-Runtime-Aws-Tenant-Id": "",
            "Lambda-Runtime-Client-Context": "{}",
            "Lambda-Runtime-Cognito-Identity": "{}",
            "Lambda-Runtime-Deadline-Ms": str(int(time.time() + 60) * 1000),
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-west-1:1:function:orders",
            "Lambda-Runtime-Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0",
        }
        self.answer(200, b"{}", headers)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(202, b"", {})
        self.replies.put(body)

    def answer(self, status, body, headers):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Keep the tests' output short."""


class Function:
    """A function that runs, as Lambda sees it."""

    def __init__(self, handler, program):
        self._handler = handler
        self._program = program

    def invoke(self):
        """Call it, take its reply, freeze it."""
        self._send(signal.SIGCONT)
        self._handler.invocations.put("request")
        reply = self._handler.replies.get(timeout=30)
        self._send(signal.SIGSTOP)
        return json.loads(reply)

    def thaw(self):
        self._send(signal.SIGCONT)

    def _send(self, number):
        os.kill(self._program.pid, number)


@contextmanager
def deployed(recipe):
    """Have a function run, until it is called."""
    handler = type("Handler", (Lambda,), {"invocations": queue.Queue(), "replies": queue.Queue()})
    with ThreadingHTTPServer((HOST, 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        variables = {
            "AWS_LAMBDA_FUNCTION_NAME": "count-orders",
            "AWS_LAMBDA_RUNTIME_API": f"{HOST}:{server.server_port}",
            "AWS_REGION": "eu-west-1",
            **NEVER,
        }
        with recipe.served("", **variables) as program:
            function = Function(handler, program)
            yield function
            function.thaw()
        server.shutdown()


def test_lambda(recipe, received, uri):
    """The spans and metrics of an invocation have been sent before the process is frozen."""
    function = recipe("serverless", "AWS Lambda")
    with deployed(function) as running:
        for number in range(1, 3):
            assert running.invoke() == {"orders": 0}

            commands = received.named("aggregate orders")
            assert len(commands) == number
            assert received.parent(commands[-1]).name == "count-orders"
    measured = {metric.name for metric in received.metrics}

    assert "db.client.operation.duration" in measured


def test_lambda_frozen(recipe, received, uri):
    """To be frozen for longer than a heartbeat is not taken for an outage."""
    function = recipe("serverless", "AWS Lambda")
    function.environment["MONGODB_URI"] = f"{uri}&heartbeatFrequencyMS=500&connectTimeoutMS=500"
    with deployed(function) as running:
        running.invoke()
        time.sleep(2)
        running.invoke()
        running.thaw()
        time.sleep(0.5)
        running.invoke()

    assert len(received.named("aggregate orders")) == 3
    assert not received.named("mongodb.topology.outage")


@pytest.fixture
def notebook(recipe, monkeypatch):
    """The cells of the recipe; `printed` runs them in a kernel and returns what each printed."""
    section = recipe("serverless", "Jupyter")
    monkeypatch.setenv("MONGODB_URI", section.environment["MONGODB_URI"])
    cells = [nbformat.v4.new_code_cell(source) for _, name, source in section.blocks if name]
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    return ["".join(out.get("text", "") for out in cell.outputs) for cell in cells]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_jupyter(notebook):
    """A cell shows the spans of its commands; a client that is instrumented is left alone."""
    _, second, third = notebook

    assert "find orders" in second
    assert '"total":{"$gt":"?"}' in second
    assert '"total":{"$gt":"?"}' in third

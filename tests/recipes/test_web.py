"""Web frameworks and application servers: requests and their commands, in one trace each."""

from __future__ import annotations

import pytest
from local_mongodb import eventually
from otlp_receiver import instances

PATIENCE = 90.0  # Seconds; on a busy machine workers start late.
SLOW_EXPORT = {"OTEL_BSP_SCHEDULE_DELAY": "60000", "OTEL_METRIC_EXPORT_INTERVAL": "60000"}


@pytest.mark.parametrize("heading", ["FastAPI and uvicorn", "Django", "Flask"])
def test_request(recipe, received, heading):
    """A request is one trace: its span, and inside it that of the command."""
    web = recipe("web", heading)
    with web.served("/orders"):
        [find, *_] = received.wait_for("find orders")
        request = received.parent(find)

    assert find.scope == "otel_mongo_apm"
    assert request.name in {"GET /orders", "GET orders"}
    assert (request.trace_id, request.parent_id) == (find.trace_id, "")


def test_sigterm(recipe, received):
    """What `lifespan` flushes arrives although uvicorn dies of SIGTERM."""
    with recipe("web", "FastAPI and uvicorn").served("/orders", **SLOW_EXPORT):
        assert received.spans == []

    assert received.named("GET /orders")
    assert received.named("find orders")
    assert received.wait_for_metric("db.client.operation.duration")


def test_sigterm_without_a_flush(recipe, received):
    """The warning is true: without the flush, the last spans are lost."""
    web = recipe("web", "FastAPI and uvicorn")
    web.replace("app.py", "    trace.get_tracer_provider().force_flush()\n", "")
    with web.served("/orders", **SLOW_EXPORT):
        pass

    assert received.spans == []


@pytest.mark.parametrize("heading", ["Django", "Flask"])
def test_development_servers(recipe, received, heading):
    """The development servers lose their last spans, as the page says."""
    with recipe("web", heading).served("/orders", **SLOW_EXPORT):
        pass

    assert received.spans == []


def test_uvicorn_workers(recipe, received):
    """Worker processes of uvicorn have an instance ID each."""
    web = recipe("web", "FastAPI and uvicorn")
    web.options = "--workers 2 --timeout-worker-healthcheck 60"
    with web.served("/orders"):
        ask_until(web, lambda: len(instances(received.named("find orders"))) == 2)


@pytest.mark.parametrize(
    "heading", ["gunicorn", "gunicorn with preload", "uWSGI", "uWSGI with preload"]
)
def test_workers(recipe, received, heading):
    """Each worker has an ID of its own, in spans and metrics; its last spans are not lost."""
    server = recipe("servers", heading)
    with server.served("/orders") as program:
        workers = ask_until(server, lambda: two_workers(received))
        metrics = received.wait_for_metric("db.client.operation.duration", 2)
        last = server.get("/orders?last")
    log = program.log.read_text()

    assert instances(metrics) == workers
    assert last == []
    assert "opened before fork" not in log
    assert [span.parent_id for span in received.named("GET /orders")] == [
        "" for _ in received.named("find orders")
    ]


def test_uwsgi_without_the_call_after_a_fork(recipe, received):
    """The warning is true: without it workers share an ID, and none sends metrics."""
    server = recipe("servers", "uWSGI")
    server.leave_out("--py-call-osafterfork")
    with server.served("/orders"):
        for _ in range(20):
            server.get("/orders")
        spans = received.wait_for("find orders", 20)
        received.wait_for_metric("mongodb.client.instances")

    assert len(instances(spans)) == 1
    assert "db.client.operation.duration" not in {metric.name for metric in received.metrics}


def test_client_from_before_the_fork(recipe, received):
    """A client that gunicorn preloads is seen in each worker; PyMongo warns."""
    server = recipe("servers", "gunicorn")
    server.options = "--preload"
    with server.served("/orders") as program:
        ask_until(server, lambda: two_workers(received))
    log = program.log.read_text()

    assert "MongoClient opened before fork" in log


def two_workers(received):
    found = instances(received.named("find orders"))
    return found if len(found) == 2 else None


def ask_until(server, satisfied):
    """Send requests until they have reached all workers."""

    def asked():
        server.get_at_once("/orders")
        return satisfied()

    return eventually(asked, "an answer of each worker", PATIENCE)

"""Celery: a task's commands are in the trace of who sent it."""

from __future__ import annotations

from otlp_receiver import instances


def test_celery(recipe, received, uri):
    """From the sender to the command a task is one trace, in whichever process it runs."""
    broker = {
        "CELERY_BROKER_URL": uri.replace("/?", "/celery?"),
        "OTEL_PYTHON_MONGO_APM_REQUIRE_PARENT": "true",
    }
    celery = recipe("workers", "Celery")
    with celery.served("", **broker):
        for _ in range(2):
            celery.run(1, **broker)
        commands = received.wait_for("aggregate orders", 2)
        tasks = [received.parent(command) for command in commands]
        senders = [received.parent(task) for task in tasks]
    loose = [span.name for span in received.spans if not span.parent_id]

    assert {task.name for task in tasks} == {"run/tasks.count_orders"}
    assert {sender.name for sender in senders} == {"apply_async/tasks.count_orders"}
    assert [each.trace_id for each in senders] == [each.trace_id for each in commands]
    assert not instances(tasks) & instances(senders)
    assert {*loose} == {"apply_async/tasks.count_orders", "mongodb.topology.discovery"}

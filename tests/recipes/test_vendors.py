"""Other vendors' libraries in the same process: nothing breaks, nothing is reported twice."""

from __future__ import annotations

import pytest
from otlp_receiver import http_server

QUIET = {
    "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
    "DD_REMOTE_CONFIGURATION_ENABLED": "false",
    # New Relic's agent talks to nobody.
    "NEW_RELIC_DEVELOPER_MODE": "true",
    "NEW_RELIC_LICENSE_KEY": "0" * 40,
}


@pytest.fixture
def posted():
    """What a vendor's library sends: bodies by path, to a server at `posted.url`."""
    posted = Posted()
    with http_server(posted.accept) as posted.url:
        yield posted


class Posted:
    url = ""

    def __init__(self):
        self.bodies = []

    def accept(self, path, body):
        self.bodies.append(body)
        if path == "/info":  # Datadog's library asks its agent what it can do.
            return b'{"version": "7.60.0", "endpoints": ["/v0.4/traces", "/v0.5/traces"]}'
        return b"{}"

    def say(self, text):
        """Whether something was sent that has this text in it."""
        return any(text.encode() in body for body in self.bodies)


def test_logfire(recipe, received):
    """Logfire's provider has our spans inside of its own."""
    recipe("vendors", "Logfire").run()
    [find] = received.named("find orders")

    assert received.parent(find).name == "count orders"
    assert received.wait_for_metric("db.client.operation.duration")


def test_sentry(recipe, received, posted):
    """Sentry gets its transaction without spans for commands; those are sent by OTLP."""
    dsn = posted.url.replace("://", "://key@") + "/1"
    recipe("vendors", "Sentry").run(SENTRY_DSN=dsn)

    assert received.named("find orders")
    assert posted.say("list orders")
    assert not posted.say('"op":"db')


def test_sentry_with_its_integration(recipe, received, posted):
    """Without the switch Sentry has a span for each command as well, as the page says."""
    dsn = posted.url.replace("://", "://key@") + "/1"
    sentry = recipe("vendors", "Sentry")
    sentry.replace("main.py", "disabled_integrations=[PyMongoIntegration()],", "")
    sentry.run(SENTRY_DSN=dsn)

    assert received.named("find orders")
    assert posted.say('"op":"db')


def test_datadog(recipe, posted):
    """Our spans are part of Datadog's trace; Datadog's own for PyMongo are off."""
    recipe("vendors", "Datadog").run(DD_TRACE_AGENT_URL=posted.url, **QUIET)

    assert posted.say("find orders")
    assert not posted.say("mongodb.cmd")


def test_new_relic(recipe, received):
    """Below New Relic's agent the application and its spans are as they were."""
    printed = recipe("vendors", "New Relic").run(**QUIET)
    [find] = received.named("find orders")

    assert "None" in printed
    assert find.resource["service.name"] == "shop"

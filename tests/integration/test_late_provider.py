"""A global meter provider that is set only after clients were instrumented."""

from __future__ import annotations

from own_process import output_of

PROGRAM = """
import sys
import pymongo
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from otel_mongo_apm import MongoInstrumentor, event_listeners, instrument_client


def client(**options):
    return pymongo.MongoClient(sys.argv[1], connect=False, **options)


def instances():
    resources = reader.get_metrics_data().resource_metrics
    found = {each.name: each for each in resources[0].scope_metrics[0].metrics}
    return [point.value for point in found["mongodb.client.instances"].data.data_points]


existing = client()
MongoInstrumentor().instrument()
clients = [client()]
reader = InMemoryMetricReader()
provider = MeterProvider([reader])
metrics.set_meter_provider(provider)
print(instances())
instrument_client(existing)
clients.append(client(event_listeners=event_listeners()))
clients.append(client(event_listeners=event_listeners(meter_provider=provider)))
print(instances())
MongoInstrumentor().uninstrument()
MongoInstrumentor().instrument()
clients.append(client())
print(instances())
"""


def test_a_late_provider(mongodb_uri):
    """All clients are observed, whether they were instrumented before it was set or after."""
    printed = output_of("-c", PROGRAM, mongodb_uri)

    # Those of the first `instrument()`, and with it the one that existed, have gone quiet.
    assert printed.split() == ["[1]", "[4]", "[3]"]

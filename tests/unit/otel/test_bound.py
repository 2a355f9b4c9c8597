"""Bound measurements: what is exported of them is what the SDK's `record` would export."""

from __future__ import annotations

import inspect
import random
import sys
from dataclasses import asdict, dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import (
    AlwaysOffExemplarFilter,
    AlwaysOnExemplarFilter,
    Histogram,
    MeterProvider,
    TraceBasedExemplarFilter,
)
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import (
    DropAggregation,
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    SumAggregation,
    View,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.sdk.version import __version__
from opentelemetry.trace import set_span_in_context

from otel_mongo_apm._otel import bound as bound_module
from otel_mongo_apm._otel.bound import KNOWN_RELEASES, bound
from otel_mongo_apm._otel.context import NOBODYS_CONTEXT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CUMULATIVE = {Histogram: AggregationTemporality.CUMULATIVE}
DELTA = {Histogram: AggregationTemporality.DELTA}
FIND = {"db.system.name": "mongodb", "server.port": 27017, "db.operation.name": "find"}
INSERT = {**FIND, "db.operation.name": "insert"}
# What the SDK drops or changes before it aggregates.
ODD = {"db.operation.name": "find", "several": ("a", "b"), "none": None, "flag": True, "one": 1}
METER, NAME = "meter", "duration"

needs_known_release = pytest.mark.skipif(
    __version__ not in KNOWN_RELEASES, reason=f"opentelemetry-sdk {__version__} is not known"
)


@dataclass(frozen=True)
class Setup:
    """How an application has set up its metrics.

    Args:
        temporalities: Of each of its readers.
        views: Its views.
        exemplar_filter: Which measurements may be exemplars.
    """

    temporalities: tuple[dict[Any, Any], ...] = (CUMULATIVE,)
    views: tuple[View, ...] = ()
    exemplar_filter: Any = None


def limited(limit: int) -> tuple[View, ...]:
    """A view with a limit of sets of attributes, where the SDK has them."""
    if "aggregation_cardinality_limit" not in inspect.signature(View).parameters:
        return ()
    return (View(instrument_name=NAME, aggregation_cardinality_limit=limit),)


SETUPS = {
    "cumulative": Setup(),
    "delta": Setup((DELTA,)),
    "both": Setup((CUMULATIVE, DELTA)),
    "no reader": Setup(()),
    "always on": Setup((CUMULATIVE, DELTA), exemplar_filter=AlwaysOnExemplarFilter()),
    "always off": Setup((CUMULATIVE, DELTA), exemplar_filter=AlwaysOffExemplarFilter()),
    "trace based": Setup((CUMULATIVE, DELTA), exemplar_filter=TraceBasedExemplarFilter()),
    "other buckets": Setup(
        (CUMULATIVE, DELTA),
        (View(instrument_name=NAME, aggregation=ExplicitBucketHistogramAggregation([0.2, 2])),),
        AlwaysOnExemplarFilter(),
    ),
    "exponential": Setup(
        (CUMULATIVE, DELTA),
        (View(instrument_name=NAME, aggregation=ExponentialBucketHistogramAggregation()),),
        AlwaysOnExemplarFilter(),
    ),
    "sum": Setup((CUMULATIVE, DELTA), (View(instrument_name=NAME, aggregation=SumAggregation()),)),
    "dropped": Setup(
        (CUMULATIVE, DELTA), (View(instrument_name=NAME, aggregation=DropAggregation()),)
    ),
    "fewer attributes": Setup(
        (CUMULATIVE, DELTA),
        (View(instrument_name=NAME, attribute_keys={"server.port"}),),
        AlwaysOnExemplarFilter(),
    ),
    "two views": Setup(
        (CUMULATIVE, DELTA),
        (
            View(instrument_name=NAME, name="first"),
            View(instrument_name=NAME, name="second", attribute_keys=set()),
        ),
    ),
    "limit of 1": Setup((CUMULATIVE, DELTA), limited(1)),
    "limit of 2": Setup((CUMULATIVE, DELTA), limited(2)),
}


@pytest.fixture
def clock(monkeypatch) -> Callable[[int], None]:
    """Set the time that the SDK and bound measurements have."""
    now = [0]
    for name, module in list(sys.modules.items()):
        if name.startswith("opentelemetry.sdk.metrics") or module is bound_module:
            for attribute in {"time_ns"} & set(vars(module)):
                monkeypatch.setattr(module, attribute, lambda: now[0])
    return lambda time: now.__setitem__(0, time)


class Application:
    """Measures durations, bound or not, and collects them."""

    def __init__(self, setup: Setup, *, may_bind: bool) -> None:
        self.may_bind = may_bind
        self.readers = [self._reader(each) for each in setup.temporalities]
        self.provider = MeterProvider(
            self.readers,
            views=setup.views,
            exemplar_filter=setup.exemplar_filter,
            shutdown_on_exit=False,
        )
        self.histogram = self.provider.get_meter(METER).create_histogram(NAME, "s")
        self.records = [self._record(each) for each in (FIND, INSERT, ODD)]

    @staticmethod
    def _reader(temporality: dict[Any, Any]) -> InMemoryMetricReader:
        return InMemoryMetricReader(preferred_temporality=temporality)

    def _record(self, attributes: dict[str, Any]) -> Any:
        return bound(self.histogram, attributes, may_bind=self.may_bind)

    def add_reader(self, temporality: dict[Any, Any]) -> None:
        reader = self._reader(temporality)
        self.provider.add_metric_reader(reader)
        self.readers.append(reader)

    def remove_reader(self) -> None:
        self.provider.remove_metric_reader(self.readers.pop(0))

    def collect(self) -> list[list[Any]]:
        """What each reader finds, without what an SDK may measure of itself."""
        return [
            [
                asdict(metric)
                for resource in (data.resource_metrics if data else ())
                for scope in resource.scope_metrics
                for metric in scope.metrics
                if scope.scope.name == METER
            ]
            for data in [reader.get_metrics_data() for reader in self.readers]
        ]


def contexts() -> Iterator[Any]:
    sampled = TracerProvider(shutdown_on_exit=False).get_tracer("t").start_span("sampled")
    dropped = TracerProvider(ALWAYS_OFF, shutdown_on_exit=False).get_tracer("t").start_span("not")
    yield from (None, NOBODYS_CONTEXT, set_span_in_context(sampled), set_span_in_context(dropped))


CONTEXTS = list(contexts())
VALUES = (0.0, 0.0005, 0.3, 1, 7.5, 1e9, -1.0)


def story(application: Application, clock: Callable[[int], None]) -> Iterator[Any]:
    """What is collected, while all that may happen to readers happens."""
    chance = random.Random(7)
    random.seed(7)
    may_change = hasattr(application.provider, "add_metric_reader")
    for step in range(12):
        clock(1_000 * step)
        for _ in range(chance.randrange(8)):
            record = chance.choice(application.records)
            record(chance.choice(VALUES), chance.choice(CONTEXTS))
        if step == 5 and may_change:
            application.add_reader(DELTA)
        if step == 8 and may_change:
            application.remove_reader()
        clock(1_000 * step + 500)
        yield application.collect()
    application.provider.shutdown()


@needs_known_release
@pytest.mark.parametrize("name", SETUPS)
@pytest.mark.filterwarnings("ignore")
def test_the_same_is_exported(clock, name):
    """To bind measurements changes nothing of what any reader collects, whatever its stream is."""
    applications = [Application(SETUPS[name], may_bind=each) for each in (False, True)]
    plain, short = (list(story(each, clock)) for each in applications)

    assert [is_bound(each) for each in applications[1].records] == [True] * 3
    assert short == plain
    may_be_empty = name in {"dropped", "no reader"}
    assert may_be_empty or any(any(each) for each in plain)


def is_bound(record: Any) -> bool:
    return hasattr(record, "__self__")


@needs_known_release
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_what_is_no_duration(clock, caplog, value):
    """What an SDK says of a value that it does not take, it says of a bound one."""
    found = []
    for may_bind in (False, True):
        caplog.clear()
        application = Application(Setup(), may_bind=may_bind)
        application.records[0](value, None)
        found.append((repr(application.collect()), caplog.messages))

    assert found[0] == found[1]


@needs_known_release
def test_delta_streams_are_let_go(clock):
    """A set of attributes that a delta stream has forgotten is not kept alive."""
    application = Application(Setup((DELTA,)), may_bind=True)
    record = application.records[0]
    for _ in range(3):
        record(1.0, None)
        application.collect()

    attributes = vars(record.__self__).values()
    assert not any("Aggregation" in type(each).__name__ for each in attributes)


@needs_known_release
def test_many_sets_of_attributes(clock):
    """The SDK's limit of sets of attributes counts as without bound measurements."""
    applications = [Application(Setup((DELTA,)), may_bind=each) for each in (False, True)]
    for application in applications:
        records = [
            bound(application.histogram, {"number": number}, may_bind=application.may_bind)
            for number in range(2_010)
        ]
        for record in (*records, *records):
            record(1.0, None)

    plain, short = (application.collect() for application in applications)
    assert short == plain


@needs_known_release
def test_a_disabled_meter(monkeypatch, clock):
    """What is measured while a meter is disabled is not exported."""
    application = Application(Setup(), may_bind=True)
    if not hasattr(application.histogram, "_is_enabled"):
        pytest.skip("This SDK disables no meters.")
    monkeypatch.setattr(application.histogram, "_meter_config", SimpleNamespace(is_enabled=False))
    application.records[0](1.0, None)

    assert application.collect() == [[]]


class OwnHistogram(metrics.Histogram):
    """Of an SDK that is not the one that is known."""

    def __init__(self) -> None:
        self.recorded: list[Any] = []

    def record(self, amount: float, attributes: Any = None, context: Any = None) -> None:
        self.recorded.append((amount, attributes, context))


def test_another_sdk():
    """Another SDK is given its measurements by the API."""
    histogram = OwnHistogram()
    bound(histogram, FIND)(1.5, NOBODYS_CONTEXT)

    assert histogram.recorded == [(1.5, FIND, NOBODYS_CONTEXT)]


def test_an_unknown_release(monkeypatch):
    """A release that is not known is given its measurements by the API."""
    monkeypatch.setattr(sys.modules["opentelemetry.sdk.version"], "__version__", "1.99.0")
    application = Application(Setup(), may_bind=True)

    assert [is_bound(each) for each in application.records] == [False] * 3


@pytest.mark.parametrize("name", ["record", "consume_measurement"])
def test_a_replaced_method(monkeypatch, name):
    """What somebody has put in the place of the SDK's own methods is called."""
    called = []
    application = Application(Setup(), may_bind=True)
    histogram = application.histogram
    target = histogram if name == "record" else histogram._measurement_consumer
    monkeypatch.setattr(type(target), name, lambda *_, **__: called.append(name))
    bound(histogram, FIND)(1.0, None)

    assert called == [name]


def test_before_there_is_an_sdk():
    """A histogram that was made before its provider is bound once that is there."""
    meter = metrics._internal._ProxyMeterProvider().get_meter("meter")
    histogram = meter.create_histogram(NAME)
    early = bound(histogram, FIND)
    early(1.0, None)
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    meter.on_set_meter_provider(provider)
    for record in (early, bound(histogram, FIND)):
        record(1.0, None)

    data = reader.get_metrics_data()
    (point,) = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
    assert (point.count, dict(point.attributes)) == (2, FIND)

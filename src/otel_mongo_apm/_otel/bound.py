"""Measurements bound to their attributes, so that the SDK does not process these each time.

The API has no way to say that attributes are the same as last time. So the SDK cleans, copies and
hashes them for every measurement, which is most of the cost of a measurement. A bound measurement
does the same as the SDK's `record`, with the SDK's own objects, but with attributes that are
already clean and with their key. This requires private names of the SDK, so it is done only for the
releases listed here; with others we call `record`. No other module uses private names of the SDK.
"""

from __future__ import annotations

import sys
from math import inf
from time import time_ns
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.context import get_current

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from opentelemetry.context import Context
    from opentelemetry.metrics import Histogram

    from .addresses import Attributes

    # Measures a value in a context, or in the current one if there is none.
    Record = Callable[[float, Context | None], None]

# In these releases, the SDK takes the same steps as `_BoundHistogram.record`. Before you add one,
# compare its sources and run `tests/unit/otel/test_bound.py` with it.
KNOWN_RELEASES = {
    *("1.35.0", "1.36.0", "1.37.0", "1.38.0", "1.39.0", "1.39.1", "1.40.0", "1.41.0", "1.41.1"),
    *("1.42.0", "1.42.1", "1.43.0", "1.44.0", "1.45.0", "1.45.1", "1.45.2"),
}
_SDK = "opentelemetry.sdk"


class _Sdk(NamedTuple):
    """The internal classes and functions of an SDK that we use."""

    histogram: type[Any]
    consumer: type[Any]
    storage: type[Any]
    view_match: type[Any]
    measurement: type[Any]
    key: Callable[[Mapping[str, Any]], Hashable]


def bound(histogram: Histogram, attributes: Attributes, *, may_bind: bool = True) -> Record:
    """Bind a histogram to attributes.

    Args:
        histogram: A histogram of the SDK, of another implementation, or of the API.
        attributes: The attributes of each measurement. Shared; do not mutate.
        may_bind: Whether to use the internals of a known SDK.
    """
    # A histogram of the API that was created before the SDK delegates to the SDK's.
    real = getattr(histogram, "_real_instrument", None) or histogram
    if may_bind and (sdk := _known_sdk()) and _is_of(sdk, real):
        return _BoundHistogram(sdk, real, attributes).record

    def record(value: float, context: Context | None) -> None:
        histogram.record(value, attributes, context)

    return record


def _known_sdk() -> _Sdk | None:
    """Return the SDK if it is already loaded and a known release; do not load it."""
    version = sys.modules.get(f"{_SDK}.version")
    if getattr(version, "__version__", None) not in KNOWN_RELEASES:
        return None
    try:
        return _Sdk(
            _inside("instrument")._Histogram,
            _inside("measurement_consumer").SynchronousMeasurementConsumer,
            _inside("metric_reader_storage").MetricReaderStorage,
            _inside("_view_instrument_match")._ViewInstrumentMatch,
            _inside("measurement").Measurement,
            # Up to 1.44 the key was a set of the items.
            getattr(_inside("_view_instrument_match"), "_hash_attributes", _items),
        )
    except (AttributeError, KeyError):
        return None


def _inside(module: str) -> Any:
    return sys.modules[f"{_SDK}.metrics._internal.{module}"]


def _items(attributes: Mapping[str, Any]) -> Hashable:
    return frozenset(attributes.items())


def _is_of(sdk: _Sdk, histogram: Any) -> bool:
    """Whether a histogram is the SDK's own, and nobody has replaced the methods that we skip."""
    consumer = getattr(histogram, "_measurement_consumer", None)
    return (
        type(histogram) is sdk.histogram
        and type(consumer) is sdk.consumer
        and "record" not in vars(histogram)
        and "consume_measurement" not in vars(consumer)
        and _is_own(sdk.histogram, "record")
        and _is_own(sdk.measurement, "__init__")
        and all(
            _is_own(cls, "consume_measurement")
            for cls in (sdk.consumer, sdk.storage, sdk.view_match)
        )
    )


def _is_own(cls: type[Any], name: str) -> bool:
    method = getattr(cls, name)
    return isinstance(method, FunctionType) and method.__module__ == cls.__module__


class _BoundHistogram:
    """A histogram of a known SDK, and what all its measurements have in common.

    It keeps no reader, stream or aggregation, because the SDK may replace these.
    """

    def __init__(self, sdk: _Sdk, histogram: Any, attributes: Attributes) -> None:
        self._sdk = sdk
        self._histogram = histogram
        self._consumer = histogram._measurement_consumer
        # Since 1.41 a meter can be disabled and enabled again.
        self._is_enabled = getattr(histogram, "_is_enabled", lambda: True)
        self._given = attributes
        self._attributes = sdk.measurement(0, 0, histogram, get_current(), attributes).attributes
        self._key = sdk.key(self._attributes)

    def record(self, value: float, context: Context | None) -> None:
        """Measure a value in a context, or in the current one if there is none."""
        if not (0 <= value < inf and self._is_enabled()):  # The SDK may log a warning.
            self._histogram.record(value, self._given, context)
            return
        sdk, consumer, histogram = self._sdk, self._consumer, self._histogram
        measurement = object.__new__(sdk.measurement)  # Its constructor would clean the attributes.
        fields = measurement.__dict__
        fields["value"] = value
        fields["time_unix_nano"] = now = time_ns()
        fields["instrument"] = histogram
        fields["context"] = context = context or get_current()
        fields["attributes"] = attributes = self._attributes
        is_exemplar = consumer._sdk_config.exemplar_filter.should_sample(
            value, now, attributes, context
        )
        for storage in consumer._reader_storages.values():
            matches = None
            if type(storage) is sdk.storage:
                matches = storage._instrument_view_instrument_matches.get(histogram)
            if matches is None:  # The first measurement for this reader.
                storage.consume_measurement(measurement, is_exemplar)
                continue
            for match in matches:
                self._aggregate(match, measurement, is_exemplar)

    def _aggregate(self, match: Any, measurement: Any, is_exemplar: bool) -> None:  # noqa: FBT001
        aggregation = None
        if type(match) is self._sdk.view_match and match._view._attribute_keys is None:
            if getattr(match, "_reset_on_collect", False):
                # Since 1.45.2 a collection empties a delta stream while it holds this lock.
                with match._lock:
                    aggregation = match._attributes_aggregation.get(self._key)
                    if aggregation is not None:
                        aggregation.aggregate(measurement, is_exemplar)
                        return
            else:
                aggregation = match._attributes_aggregation.get(self._key)
        if aggregation is None:
            match.consume_measurement(measurement, is_exemplar)
        else:
            aggregation.aggregate(measurement, is_exemplar)

"""What the installed PyMongo and OpenTelemetry have."""

from __future__ import annotations

from typing import Any

import pymongo
import pytest
from opentelemetry.sdk._logs import export

needs_async = pytest.mark.skipif(
    pymongo.version_tuple < (4, 11),
    reason="AsyncMongoClient was a beta that blocked its event loop until PyMongo 4.11",
)

# All attempts of an operation have one ID since PyMongo 4.18, those of a bulk write before, too.
RETRY_OF_BULK = {"mongodb.client.retry.count": 1}
RETRY = RETRY_OF_BULK if pymongo.version_tuple >= (4, 18) else {}


def log_exporter() -> Any:
    """The SDK's exporter of log records to memory, which had another name before 1.38."""
    exporter = getattr(export, "InMemoryLogRecordExporter", None)
    return (exporter or export.InMemoryLogExporter)()

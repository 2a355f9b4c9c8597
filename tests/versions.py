"""What the installed PyMongo has."""

from __future__ import annotations

import pymongo
import pytest

needs_async = pytest.mark.skipif(
    pymongo.version_tuple < (4, 11),
    reason="AsyncMongoClient was a beta that blocked its event loop until PyMongo 4.11",
)

# Since PyMongo 4.18 all attempts of an operation have one ID.
RETRY = {"mongodb.client.retry.count": 1} if pymongo.version_tuple >= (4, 18) else {}

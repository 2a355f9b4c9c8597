"""A program that calls MongoDB at `$MONGODB_URI` again and again, however that ends.

DNS does not know the name of a `mongodb+srv://` URI.
"""

from __future__ import annotations

import contextlib
import os
import time

from name_server import NameServer
from pymongo import MongoClient
from pymongo.errors import PyMongoError


def main():
    with NameServer(), MongoClient(os.environ["MONGODB_URI"], connect=False) as client:
        while True:
            with contextlib.suppress(PyMongoError):
                client.shop.visits.find_one()
            time.sleep(0.05)


if __name__ == "__main__":
    main()

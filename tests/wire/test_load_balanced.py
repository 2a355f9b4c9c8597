"""A client of servers behind a load balancer, which sends no heartbeats."""

from __future__ import annotations

import bson
import pymongo
from local_mongodb import eventually
from scripted_server import ScriptedServer, found


def test_a_cleared_pool(instrumented, caplog):
    """That a pool was cleared is told when a server is selected next."""
    caplog.set_level("DEBUG", "otel_mongo_apm.cluster")
    with ScriptedServer() as server:
        server.hello["serviceId"] = bson.ObjectId()
        server.on("find", found({"_id": 1}))
        with pymongo.MongoClient(server.uri, loadBalanced=True) as client:
            client.shop.users.find_one()
            server.drop("find")
            client.shop.users.find_one()
            cleared = f"Connection pool {server.address} cleared"
            eventually(lambda: cleared in caplog.messages, "the line")

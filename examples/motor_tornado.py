"""A theatre that sells its seats: Motor on Tornado's IOLoop, and one span per request.

Nothing here instruments Motor; `opentelemetry-instrument python examples/motor_tornado.py` does.
It uses the database `motor_tornado` of the server at `$MONGODB_URI`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from motor.motor_tornado import MotorClient
from opentelemetry import trace
from pymongo.errors import DuplicateKeyError
from tornado.gen import multi
from tornado.ioloop import IOLoop

if TYPE_CHECKING:
    from motor.motor_tornado import MotorCollection

Ticket = dict[str, Any]

VISITORS = 20
SEATS = 15

tracer = trace.get_tracer("motor_tornado")


async def sell(tickets: MotorCollection[Ticket], visitor: int) -> bool:
    """Sell a visitor the seat that is wanted, or else the next."""
    with tracer.start_as_current_span("sell", attributes={"visitor": visitor}):
        for seat in (visitor % SEATS, (visitor + 1) % SEATS):
            try:
                await tickets.insert_one({"_id": seat, "visitor": visitor})
            except DuplicateKeyError:
                continue
            return True
        return False


async def admit(tickets: MotorCollection[Ticket]) -> int:
    """Let the visitors in, ten at a time."""
    with tracer.start_as_current_span("admit"):
        admitted = [ticket async for ticket in tickets.find(batch_size=10)]
        await tickets.update_many({}, {"$set": {"used": True}})
        return len(admitted)


async def main() -> None:
    """Open the box office for one evening."""
    uri = os.environ.get("MONGODB_URI", "mongodb://localhost:27017")
    client: MotorClient[Ticket] = MotorClient(uri)
    tickets = client["motor_tornado"]["tickets"]
    with tracer.start_as_current_span("open"):
        await tickets.drop()
    sold = await multi([sell(tickets, visitor) for visitor in range(VISITORS)])
    print(f"{sum(sold)} of {VISITORS} visitors have a seat.")
    print(f"{await admit(tickets)} came.")
    client.close()


if __name__ == "__main__":
    IOLoop.current().run_sync(main)

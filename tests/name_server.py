"""A DNS server on the loopback interface that knows the servers of one SRV record.

    with NameServer() as names:
        names.servers = [("h1.test.example", 27017)]
        pymongo.MongoClient("mongodb+srv://cluster.test.example")

It answers whatever name is asked for. Without servers it says that there is no such name.
"""

from __future__ import annotations

import socketserver
import threading
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any
from unittest import mock

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

if TYPE_CHECKING:
    from typing_extensions import Self


class NameServer(socketserver.ThreadingUDPServer):
    """Answers from `__enter__` to `__exit__`; meanwhile dnspython asks no other.

    Attributes:
        servers: The servers of each SRV record.
        delay: How long an answer takes, in seconds.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.servers: list[tuple[str, int]] = []
        self.delay = 0.0

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        # In this order: the second cannot be imported before the first.
        modules = [import_module(f"dns.{name}") for name in ("resolver", "asyncresolver")]
        self._patches = [self._asked_by(module) for module in modules]
        return self

    def __exit__(self, *_: object) -> None:
        for patch in self._patches:
            patch.stop()
        self.shutdown()
        self.server_close()

    def _asked_by(self, module: Any) -> Any:
        resolver = module.Resolver(configure=False)
        resolver.nameservers, resolver.port = ["127.0.0.1"], self.server_address[1]
        patch = mock.patch.object(module, "default_resolver", resolver)
        patch.start()
        return patch


class _Handler(socketserver.BaseRequestHandler):
    server: NameServer

    def handle(self) -> None:
        query, socket = self.request
        reply = dns.message.make_response(dns.message.from_wire(query))
        name = reply.question[0].name
        time.sleep(self.server.delay)
        if not self.server.servers:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        elif reply.question[0].rdtype == dns.rdatatype.SRV:
            records = [f"0 0 {port} {host}." for host, port in self.server.servers]
            reply.answer.append(dns.rrset.from_text(name, 1, "IN", "SRV", *records))
        socket.sendto(reply.to_wire(), self.client_address)

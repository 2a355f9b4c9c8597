"""A DNS server on this machine, so that a real ``mongodb+srv://`` is looked up."""

from __future__ import annotations

import socket
import socketserver
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING
from unittest.mock import patch

import dns.flags
import dns.message
import dns.rdatatype
import dns.rrset

if TYPE_CHECKING:
    from collections.abc import Iterator

CLUSTER = "cluster.test.invalid"  # Nobody can have it: RFC 2606.
SERVER = "server.test.invalid"


class _Questions(socketserver.BaseRequestHandler):
    server: _Names

    def handle(self) -> None:
        packet, answers = self.request
        question = dns.message.from_wire(packet)
        reply = dns.message.make_response(question)
        (asked,) = question.question
        if asked.rdtype == dns.rdatatype.SRV:
            record = f"0 0 {self.server.port} {SERVER}."
            reply.answer.append(dns.rrset.from_text(asked.name, 1, "IN", "SRV", record))
        answers.sendto(reply.to_wire(), self.client_address)


class _Names(socketserver.ThreadingUDPServer):
    daemon_threads = True
    port: int  # Of the MongoDB.


def _on_this_machine(look_up):
    def getaddrinfo(host, *args, **kwargs):
        return look_up("127.0.0.1" if host == SERVER else host, *args, **kwargs)

    return getaddrinfo


@contextmanager
def srv_of(port: int) -> Iterator[str]:
    """A URI whose SRV record names the MongoDB on a port of this machine."""
    # Here, since an old PyMongo, which looks names up when it makes a client, has something of its
    # own in the place of these modules.
    import dns.asyncresolver  # noqa: PLC0415
    import dns.resolver  # noqa: PLC0415

    with _Names(("127.0.0.1", 0), _Questions) as server:
        server.port = port
        Thread(target=server.serve_forever, daemon=True).start()
        resolvers = {}
        for module in (dns.resolver, dns.asyncresolver):
            resolver = resolvers[module] = module.Resolver(configure=False)
            resolver.nameservers, resolver.port = ["127.0.0.1"], server.server_address[1]
        with (
            patch.object(socket, "getaddrinfo", _on_this_machine(socket.getaddrinfo)),
            patch.object(dns.resolver, "default_resolver", resolvers[dns.resolver]),
            patch.object(dns.asyncresolver, "default_resolver", resolvers[dns.asyncresolver]),
        ):
            yield f"mongodb+srv://{CLUSTER}/?tls=false"
        server.shutdown()

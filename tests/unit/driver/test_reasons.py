"""Why a server was lost, from what PyMongo leaves of an exception."""

from __future__ import annotations

import errno
import os
import socket

import pytest
from pymongo.errors import AutoReconnect, NetworkTimeout, NotPrimaryError, OperationFailure

from otel_mongo_apm._driver.reasons import reason

WHERE = "alice.example:27017: "
CONFIGURED = " (configured timeouts: socketTimeoutMS: 20000.0ms)"
NO_NAME = f"[Errno {int(socket.EAI_NONAME)}] Name or service not known"


def system_error(number):
    return f"[Errno {number}] {os.strerror(number)}"


@pytest.mark.parametrize(
    ("text", "error_type", "words"),
    [
        (system_error(errno.ECONNREFUSED), "ConnectionRefusedError", "connection refused"),
        (  # As asyncio says it.
            f"[Errno {errno.ECONNREFUSED}] Connect call failed ('alice', 27017)",
            "ConnectionRefusedError",
            "connection refused",
        ),
        (system_error(errno.ECONNRESET), "ConnectionResetError", "connection reset"),
        (system_error(errno.EPIPE), "BrokenPipeError", "connection reset"),
        (system_error(errno.ETIMEDOUT), "TimeoutError", "timed out"),
        (system_error(errno.EHOSTUNREACH), "OSError", "no route to host"),
        (NO_NAME, "socket.gaierror", "unknown host name"),
        ("[Errno 11001] getaddrinfo failed", "socket.gaierror", "unknown host name"),
        (
            "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed (_ssl.c:1006)",
            "ssl.SSLCertVerificationError",
            "certificate not trusted",
        ),
        ("[SSL: WRONG_VERSION_NUMBER] wrong (_ssl.c:1)", "ssl.SSLError", "TLS handshake failed"),
        (
            "[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred in violation of protocol (_ssl.c:1)",
            "ssl.SSLEOFError",
            "TLS handshake failed",
        ),
        ("connection closed", "pymongo.errors.AutoReconnect", "connection closed"),
        ("alice", "pymongo.errors.AutoReconnect", "AutoReconnect"),
        ("[Errno 99999999999999999999] alice", "pymongo.errors.AutoReconnect", "AutoReconnect"),
    ],
)
def test_what_a_text_says(text, error_type, words):
    """The class of the original exception is found in the text, and nothing is quoted."""
    assert reason(AutoReconnect(WHERE + text + CONFIGURED)) == (error_type, words)


@pytest.mark.parametrize(
    ("error", "error_type", "words"),
    [
        (NetworkTimeout(WHERE + "timed out"), "TimeoutError", "timed out"),
        (OperationFailure("alice", 18), "18", "authentication failed"),
        (
            NotPrimaryError("alice", {"code": 189, "codeName": "PrimarySteppedDown"}),
            "189",
            "PrimarySteppedDown",
        ),
        (ConnectionRefusedError(), "ConnectionRefusedError", "connection refused"),
    ],
)
def test_what_needs_no_text(error, error_type, words):
    """The server's codes and classes that say enough are taken as they are."""
    assert reason(error) == (error_type, words)


def test_an_original_that_is_still_there():
    """Where PyMongo has kept the original, that is told."""
    error = AutoReconnect("alice")
    error.__cause__ = ConnectionResetError()

    assert reason(error) == ("ConnectionResetError", "connection reset")

"""Why a server was lost, from what PyMongo preserves of the exception.

PyMongo's monitors remove the cause of an exception before they publish it. But the text still
contains the error number and a few constant words. We read only these and never emit the text.
"""

from __future__ import annotations

import os
import re
import socket
from typing import TYPE_CHECKING, NamedTuple

from pymongo.errors import NetworkTimeout

from .failures import exception_failure

if TYPE_CHECKING:
    from .failures import Failure

_NUMBER = re.compile(r"\[(?:Errno|WinError) (-?\d{1,5})\]")
_RESOLVER_ERRORS = {getattr(socket, name) for name in dir(socket) if name.startswith("EAI_")}
_NO_SUCH_HOST_ON_WINDOWS = 11001
_CLOSED = "connection closed"
_CERTIFICATE = "certificate verify failed"
_TLS = re.compile(r"\[SSL\b|\bSSL handshake failed\b|_ssl\.c")
_TLS_ENDED = "EOF occurred in violation of protocol"

_WORDS = {
    "ConnectionRefusedError": "connection refused",
    "ConnectionResetError": "connection reset",
    "ConnectionAbortedError": "connection reset",
    "BrokenPipeError": "connection reset",
    "TimeoutError": "timed out",
    "socket.gaierror": "unknown host name",
    "ssl.SSLCertVerificationError": "certificate not trusted",
    "ssl.SSLEOFError": "TLS handshake failed",
    "ssl.SSLError": "TLS handshake failed",
    "18": "authentication failed",
}


class Reason(NamedTuple):
    """Why a server was lost.

    Args:
        error_type: The server's code, or the class of the original exception if it is known.
        words: The same in words.
    """

    error_type: str
    words: str


def reason(error: BaseException) -> Reason:
    """Classify an exception of a heartbeat or of a server's description.

    >>> from pymongo.errors import AutoReconnect
    >>> reason(AutoReconnect("db.example:1: [Errno 111] Connection refused (configured ...)"))
    Reason(error_type='ConnectionRefusedError', words='connection refused')
    """
    failure = exception_failure(error)
    error_type = failure.error_type
    if failure.status_code is None and error.__cause__ is None:
        error_type = _original(error) or error_type
    return Reason(error_type, _WORDS.get(error_type) or _words(failure))


def _words(failure: Failure) -> str:
    if failure.status_code is not None:
        return failure.name
    if _CLOSED in failure.message:
        return _CLOSED
    number = _NUMBER.search(failure.message)
    return os.strerror(int(number[1])).lower() if number else failure.name


def _original(error: BaseException) -> str | None:
    """Return the class of the exception that PyMongo has replaced by its own."""
    text = str(error)
    if isinstance(error, NetworkTimeout):
        return "TimeoutError"
    if _CERTIFICATE in text:
        return "ssl.SSLCertVerificationError"
    if _TLS_ENDED in text:
        return "ssl.SSLEOFError"
    if _TLS.search(text):
        return "ssl.SSLError"
    number = _NUMBER.search(text)
    return _class_of(int(number[1]), text) if number else None


def _class_of(number: int, text: str) -> str:
    # If the resolver's error numbers are positive, some are also error numbers of the system.
    if os.strerror(number) not in text and (
        number in _RESOLVER_ERRORS or number == _NO_SUCH_HOST_ON_WINDOWS
    ):
        return "socket.gaierror"
    return type(OSError(number, "")).__name__

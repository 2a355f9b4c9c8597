"""Why a command or a call failed."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import pymongo
from opentelemetry.semconv.attributes.db_attributes import DB_RESPONSE_STATUS_CODE
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from pymongo.errors import (
    AutoReconnect,
    NetworkTimeout,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
)

from otel_mongo_apm._otel.exceptions import (
    class_name,
    exception_message,
    exception_type,
    message_text,
)
from otel_mongo_apm._otel.semconv import OTHER_ERROR

if TYPE_CHECKING:
    from otel_mongo_apm._otel.addresses import Attributes

# Whether PyMongo publishes a failure if a command is interrupted by a cancellation or a
# KeyboardInterrupt. Older versions publish nothing.
TELLS_INTERRUPTIONS = pymongo.version_tuple >= (4, 20, 1)

_DUPLICATE_KEY_CODES = frozenset({"11000", "11001", "12582"})


class Failure(NamedTuple):
    """Why a command failed.

    Args:
        error_type: The server's code or the exception's class.
        status_code: The server's code, if the server reported the failure.
        name: The code's name or the exception's class, for readers.
        message: The server's or the exception's message; it may contain users' values.
    """

    error_type: str
    status_code: str | None
    name: str
    message: str

    @property
    def attributes(self) -> Attributes:
        """As attributes of a span or a measurement."""
        if self.status_code is None:
            return {ERROR_TYPE: self.error_type}
        return {ERROR_TYPE: self.error_type, DB_RESPONSE_STATUS_CODE: self.status_code}


def command_failure(failure: Mapping[str, Any], error: BaseException | None) -> Failure:
    """Describe a failure by the server's code or, failing that, the exception's class.

    >>> command_failure({"code": 59, "codeName": "CommandNotFound", "errmsg": "no x"}, None)
    Failure(error_type='59', status_code='59', name='CommandNotFound', message='no x')
    """
    status_code, name = _code(failure.get("code")), _text(failure.get("codeName"))
    message = _text(failure.get("errmsg"))
    if status_code is not None and name:
        return Failure(status_code, status_code, name, message)
    error_type = _error_type(_text(failure.get("errtype")), error)
    name = name or error_type.rpartition(".")[2]
    error_type = error_type if status_code is None else status_code
    return Failure(error_type, status_code, name, message)


def _error_type(name: str, error: BaseException | None) -> str:
    if error is None:
        return name or OTHER_ERROR
    if name and type(error).__name__ != name:  # The current exception is an unrelated one.
        return name
    return exception_type(error)


def _code(code: object) -> str | None:
    """Return a server's error code if it is a number; a server may send anything."""
    # Some servers send their numbers as doubles.
    if not isinstance(code, int | float) or isinstance(code, bool) or not math.isfinite(code):
        return None
    return str(int(code))


def _text(text: object) -> str:
    return message_text(text) if isinstance(text, str) else ""


def exception_failure(error: BaseException) -> Failure:
    """Describe an exception by the server's code, if it has one, or else by its class.

    >>> exception_failure(ConnectionRefusedError("refused"))
    Failure(error_type='ConnectionRefusedError', status_code=None, ...)
    """
    details: dict[str, Any] = {"errmsg": exception_message(error)}
    if isinstance(error, OperationFailure | NotPrimaryError):
        details |= {"code": getattr(error, "code", None), **dict(error.details or {})}
    return command_failure(details, error)


def raised_type(error: BaseException) -> str:
    """Return the class that PyMongo raises to the application for an exception it is handling.

    It wraps a socket's exceptions: since 4.18 before it calls listeners, in older versions later.

    >>> raised_type(ConnectionResetError())
    'pymongo.errors.AutoReconnect'
    >>> raised_type(TimeoutError())
    'pymongo.errors.NetworkTimeout'
    """
    if not isinstance(error, OSError) or isinstance(error, PyMongoError):
        return class_name(type(error))
    return class_name(NetworkTimeout if isinstance(error, TimeoutError) else AutoReconnect)


def as_raised(failure: Failure, error: BaseException) -> Failure:
    """Describe a failure by the exception that the application gets, instead of its cause.

    Args:
        failure: The failure.
        error: The exception that was being handled when it occurred.
    """
    if failure.error_type != exception_type(error):  # The server's code, or an unrelated exception.
        return failure
    name = raised_type(error)
    return failure._replace(error_type=name, name=name.rpartition(".")[2])


def write_failure(reply: Mapping[str, Any]) -> Failure | None:
    """Return the first error of a write whose command succeeded nevertheless.

    >>> write_failure({"n": 1, "ok": 1})
    >>> write_failure({"n": 0, "ok": 1, "writeErrors": [{"code": 11000, "errmsg": "E11000"}]})
    Failure(error_type='11000', status_code='11000', name='DuplicateKeyError', message='E11000')
    """
    errors = reply.get("writeErrors")
    if isinstance(errors, list) and errors:
        return _reported(errors[0], "WriteError")
    if error := reply.get("writeConcernError"):
        return _reported(error, "WriteConcernError")
    if reply.get("nErrors"):  # A `bulkWrite` command returns a cursor of results.
        return _reported(_first_failed_result(reply), "WriteError")
    return None


def _first_failed_result(reply: Mapping[str, Any]) -> object:
    """Return the first failure; None if it is in a later batch."""
    cursor = reply.get("cursor")
    results = cursor.get("firstBatch", ()) if isinstance(cursor, Mapping) else ()
    return next((result for result in results if not result.get("ok")), None)


def _reported(error: object, name: str) -> Failure:
    code = _code(error.get("code")) if isinstance(error, Mapping) else None
    if code is None or not isinstance(error, Mapping):
        return Failure(OTHER_ERROR, None, name, "")
    if code in _DUPLICATE_KEY_CODES:  # The reply contains no code name here; PyMongo has a class.
        name = "DuplicateKeyError"
    return Failure(code, code, _text(error.get("codeName")) or name, _text(error.get("errmsg")))


def exception_in_hand() -> BaseException | None:
    """Return the exception that PyMongo is handling while it calls a listener."""
    error = sys.exc_info()[1]
    traceback = error.__traceback__ if error else None
    if traceback is None:
        return None
    # The traceback begins in the frame that caught the exception. This can be the application, if
    # it called PyMongo while it was handling an exception of its own.
    caught_in = traceback.tb_frame.f_globals.get("__name__", "")
    return error if caught_in.startswith("pymongo.") else None

"""What of a MongoDB URI must not be shown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, unquote_plus

if TYPE_CHECKING:
    from collections.abc import Iterator

WITHHELD = "(its message is not shown, as it quotes what is secret in the URI)"

_SCHEMES = ("mongodb://", "mongodb+srv://")
_SECRET_OPTION = re.compile("pas|pw|secret|token|phrase|properties|credential", re.IGNORECASE)
_WORD = re.compile(r"\S+")
_SCHEME = re.compile(r"mongodb(?:\+srv)?:/*")
# A shorter part of a password tells little, and would be found anywhere.
_PART = re.compile(r"\w{4,}")


def refusal(uri: str) -> str | None:
    """Say why a URI had better not be used: PyMongo could take a part of a password for a host.

    >>> refusal("user:secret@db.example")
    'It does not begin with mongodb:// or mongodb+srv://.'
    >>> refusal("mongodb://user:1234/secret@db.example/")
    'It has an @ after the first /. Write %2F for a / of a password, and %40 for an @.'
    >>> refusal("mongodb://user:secret@db.example/") is None
    True
    """
    if not uri.startswith(_SCHEMES):
        return f"It does not begin with {' or '.join(_SCHEMES)}."
    _, _, after = _split(uri)
    if "@" in after:
        return "It has an @ after the first /. Write %2F for a / of a password, and %40 for an @."
    return None


class Secrets:
    """The user, the password and the secret options of a URI, however they are written.

    >>> secrets = Secrets("mongodb://ada:p%40ss@db.example/?tlsCertificateKeyFilePassword=1234")
    >>> secrets.withheld("db.example: timed out")
    'db.example: timed out'
    >>> secrets.withheld("Is p@ss right?") == WITHHELD
    True
    """

    def __init__(self, uri: str) -> None:
        self._texts = {text for secret in _secrets(uri) for text in _spellings(secret)} - {""}

    def withheld(self, message: str) -> str:
        """A message, unless it quotes a secret."""
        return WITHHELD if any(text in message for text in self._texts) else message


def without_credentials(text: str) -> str:
    """A text, with the credentials left out of the URIs in it.

    >>> without_credentials("not mongodb://ada:secret@db.example/ but")
    'not mongodb://***@db.example/ but'
    """
    return _WORD.sub(_word_without_credentials, text)


def _word_without_credentials(found: re.Match[str]) -> str:
    # One expression for all of it would try each of many schemes to the end of the word.
    word = found[0]
    scheme, end = _SCHEME.search(word), word.rfind("@")
    return (
        word if scheme is None or end < scheme.end() else f"{word[: scheme.end()]}***{word[end:]}"
    )


def _split(uri: str) -> tuple[str, str, str]:
    """A URI's user and password, its hosts, and what comes after."""
    _, _, rest = uri.partition("://")
    authority, *after = re.split("[/?]", rest, maxsplit=1)
    credentials, _, hosts = authority.rpartition("@")
    return credentials, hosts, "".join(after)


def _secrets(uri: str) -> Iterator[str]:
    credentials, _, after = _split(uri)
    user, _, password = credentials.partition(":")
    yield from (user, password)
    options = [option.partition("=") for option in re.split("[?&;]", after)]
    secret = [value for name, _, value in options if _SECRET_OPTION.search(name)]
    for each in (password, *secret):
        yield each
        for spelling in (each, unquote(each)):
            yield from _PART.findall(spelling)


def _spellings(secret: str) -> Iterator[str]:
    for text in (secret, unquote(secret), unquote_plus(secret)):
        # As exceptions quote it.
        yield from (text, repr(text)[1:-1], ascii(text)[1:-1])

"""Text that every exporter can encode."""

from __future__ import annotations


def encodable(text: str) -> str:
    r"""A text, with what exporters cannot encode replaced; they might drop all that is beside it.

    >>> encodable("us\ud800rs")
    'us?rs'
    """
    return text if text.isascii() else text.encode(errors="replace").decode()

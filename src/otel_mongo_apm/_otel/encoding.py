"""Text that every exporter can encode."""

from __future__ import annotations


def encodable(text: str) -> str:
    r"""Replace characters that exporters cannot encode, because these might drop the whole batch.

    >>> encodable("us\ud800rs")
    'us?rs'
    """
    return text if text.isascii() else text.encode(errors="replace").decode()

"""A word, and that it was there once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def process(tup: Any) -> Iterator[tuple[str, int]]:
    """Called for each tuple; what it yields is emitted."""
    yield tup.word, 1

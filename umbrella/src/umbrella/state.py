"""Keyed state of a bolt, which moves with its keys when tasks move."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

V = TypeVar("V")


class KeyedState(dict[Any, V]):
    """A dict that a bolt keeps by the values that its input is grouped by::

        class Count(Bolt):
            counts = KeyedState(int)

            def process(self, input):
                self.counts[input.word] += 1

    Each task has its own. A key is the value of the grouping's field, or a tuple of values if it groups by several:
    when the topology is scaled, what is kept under a key goes where the tuples with these values go. Keys and values
    must be such as tuples hold. Keys are equal as in Python, so use one type for one key.
    """

    def __init__(self, default: Callable[[], V] | None = None) -> None:
        super().__init__()
        self.default = default

    def __missing__(self, key: Any) -> V:
        if self.default is None:
            raise KeyError(key)
        value = self[key] = self.default()
        return value

    def fresh(self) -> KeyedState[V]:
        """An empty one like this."""
        return KeyedState(self.default)


def snapshot(states: dict[str, KeyedState[Any]]) -> list[list[Any]]:
    """What is kept, in parts that belong to keys."""
    parts: dict[Any, dict[str, Any]] = {}
    for name, state in states.items():
        for key, value in state.items():
            parts.setdefault(key, {})[name] = value
    return [[list(key) if isinstance(key, tuple) else [key], kept] for key, kept in parts.items()]


def restore(states: dict[str, KeyedState[Any]], parts: list[list[Any]]) -> None:
    """Takes over parts that `snapshot` gave."""
    for key, kept in parts:
        for name, value in kept.items():
            if name in states:
                states[name][key[0] if len(key) == 1 else tuple(key)] = value

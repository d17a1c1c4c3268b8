"""The tuples that a bolt reads, with their fields as attributes."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .names import listed

if TYPE_CHECKING:

    class Input:
        """A tuple: `input.ip` is its field `ip`, `input["ip"]` and `input[0]` are the same; it can be unpacked."""

        def __getattr__(self, name: str) -> Any: ...
        def __getitem__(self, key: str | int) -> Any: ...
        def __iter__(self) -> Iterator[Any]: ...
        def __len__(self) -> int: ...

else:

    class Input(tuple):
        """A tuple: `input.ip` is its field `ip`, `input["ip"]` and `input[0]` are the same; it can be unpacked."""

        __slots__ = ()
        fields_: tuple[str, ...] = ()

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(f"the input has no field '{name}'; it has {listed(self.fields_)}")

        def __getitem__(self, key: str | int) -> Any:
            if isinstance(key, str):
                if key not in self.fields_:
                    raise KeyError(f"the input has no field '{key}'; it has {listed(self.fields_)}")
                key = self.fields_.index(key)
            return tuple.__getitem__(self, key)

        def __repr__(self) -> str:
            return f"Input({', '.join(f'{name}={value!r}' for name, value in zip(self.fields_, self, strict=True))})"


def input_class(fields: tuple[str, ...]) -> type[Input]:
    """The class of the tuples with these fields, made of a list of values."""
    body: dict[str, Any] = {"__slots__": (), "fields_": fields}
    # What a tuple has of its own, such as `count`, gives way to a field.
    body.update({name: _field(number) for number, name in enumerate(fields)})
    made: type[Input] = type("Input", (Input,), body)
    return made


try:
    # What named tuples have their fields by: reads the value without a call.
    _tuplegetter: Any = getattr(importlib.import_module("_collections"), "_tuplegetter")  # noqa: B009
except (ImportError, AttributeError):
    _tuplegetter = None


def _field(number: int) -> Any:
    return property(_getter(number)) if _tuplegetter is None else _tuplegetter(number, None)


def _getter(number: int) -> Any:
    return lambda tup: tuple.__getitem__(tup, number)

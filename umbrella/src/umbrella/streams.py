"""Streams: nested classes of a component, each with the names of its fields.

Owns: what a stream is, the rows that are emitted to it, and how a topology names one. Leaves to others: who may
emit and read it. Invariant: a row of a stream has one value for each field.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from .errors import DeclarationError, EmitError
from .names import check_name, kebab, listed, parse_fields
from .places import Place, caller

if TYPE_CHECKING:
    from .components import Component


class StreamMeta(type):
    """Checks a stream when its class is defined."""

    names: tuple[str, ...]
    stream: str
    place: Place

    def __new__(mcs, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> StreamMeta:
        cls = super().__new__(mcs, name, bases, body)
        if any(isinstance(base, StreamMeta) for base in bases):
            cls.place = caller()
            what = f"stream '{name}'"
            cls.names = parse_fields(getattr(cls, "fields", None), what, cls.place)
            cls.stream = check_name(body.get("name") or kebab(name), "stream", cls.place)
            unknown = [key for key in body if not key.startswith("_") and key not in _SETTINGS]
            if unknown:
                raise DeclarationError(f"{what} has no setting '{unknown[0]}'; it has {listed(_SETTINGS)}", cls.place)
        return cls

    def __get__(cls, instance: Component | None, owner: type | None = None) -> StreamMeta | StreamOf:
        """The stream of one component, where a topology names it: `parser.Rejected`."""
        return cls if instance is None else StreamOf(instance, cls)


_SETTINGS = ("fields", "name", "direct", "optional")


class Stream(metaclass=StreamMeta):
    """A stream, declared inside of the component that emits to it::

        class Parse(Bolt):
            class Default(Stream):
                fields = "ip url"

            class Rejected(Stream):
                fields = "line"

    What is emitted without a stream goes to `Default`. Calling the class makes a row:
    `yield self.Rejected(line)` or `self.Default(ip=..., url=...)`.
    """

    #: The names of the fields: a text with blanks or commas between them, or a list.
    fields: ClassVar[str | Sequence[str]]
    #: The stream's name in the manifest; that of the class in lower case if absent.
    name: ClassVar[str]
    #: Whether each emit names the task that it goes to.
    direct: ClassVar[bool] = False
    #: Whether it is all right that nobody reads it.
    optional: ClassVar[bool] = False

    __slots__ = ("values",)
    values: tuple[Any, ...]

    def __init__(self, *values: Any, **named: Any) -> None:
        names = type(self).names
        self.values = values if not named and len(values) == len(names) else fill(type(self), values, named)


class StreamOf:
    """A stream of one component of a topology."""

    __slots__ = ("cls", "component")

    def __init__(self, component: Component, cls: StreamMeta) -> None:
        self.component = component
        self.cls = cls

    def __call__(self, *values: Any, **named: Any) -> Stream:
        row: Stream = self.cls(*values, **named)
        return row


def fill(cls: StreamMeta, values: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
    """The values in the order of the fields, some of them given by name."""
    names = cls.names
    unknown = [name for name in named if name not in names]
    if unknown:
        raise EmitError(f"stream '{cls.stream}' has no field '{unknown[0]}'; it has {listed(names)}", caller())
    positional = names[: len(values)]
    twice = [name for name in named if name in positional]
    if twice:
        raise EmitError(f"field '{twice[0]}' of stream '{cls.stream}' is given twice", caller())
    missing = [name for name in names[len(values) :] if name not in named]
    if missing or len(values) > len(names):
        count = len(values) + len(named)
        raise EmitError(
            f"stream '{cls.stream}' has {_counted(len(names), 'field')} ({', '.join(names)}), and "
            f"{_counted(count, 'value')} {'was' if count == 1 else 'were'} emitted",
            caller(),
        )
    return (*values, *(named[name] for name in names[len(values) :]))


def _counted(count: int, what: str) -> str:
    return f"1 {what}" if count == 1 else f"{count} {what}s"

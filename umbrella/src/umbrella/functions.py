"""Components made of functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .components import Bolt, Spout
from .errors import DeclarationError
from .names import parse_fields
from .places import Place, caller
from .streams import Stream, StreamMeta, StreamOf

if TYPE_CHECKING:

    class FunctionBolt(Bolt):
        """A bolt that was a function; which streams it has is not known to type checkers."""

        def __getattr__(self, name: str) -> StreamOf: ...


def bolt(*streams: str | type[Stream]) -> Callable[[Callable[..., Any]], type[FunctionBolt]]:
    """Makes a function a bolt, which is declared as a class would be: `split = split(2, inputs=lines)`::

        @bolt("word")
        def split(input):
            for word in input.line.split():
                yield word

    A text names the fields of the stream `Default`; others are classes, and `yield Rejected(...)` emits to them. A
    bolt that emits nothing has none.
    """

    def make(function: Callable[..., Any]) -> type[FunctionBolt]:
        body = _body(function, streams)
        body["process"] = staticmethod(function)
        made: type[FunctionBolt] = type(function.__name__, (Bolt,), body)
        return made

    return make


def spout(*streams: str | type[Stream], repeatable: bool = False) -> Callable[[Callable[..., Any]], type[Spout]]:
    """Makes a generator function a spout; see `Spout` and `bolt`::

    @spout("number")
    def numbers():
        yield from range(10)
    """

    def make(function: Callable[..., Any]) -> type[Spout]:
        body = _body(function, streams)
        if not inspect.isgeneratorfunction(function) and not inspect.isasyncgenfunction(function):
            raise DeclarationError(
                f"'{function.__name__}' is no generator; a function that is a spout yields what it emits",
                Place(function.__code__.co_filename, function.__code__.co_firstlineno),
            )
        body["generate"] = staticmethod(function)
        body["repeatable"] = repeatable
        made: type[Spout] = type(function.__name__, (Spout,), body)
        return made

    return make


def _body(function: Callable[..., Any], streams: tuple[str | type[Stream], ...]) -> dict[str, Any]:
    place = caller()
    body: dict[str, Any] = {"__doc__": function.__doc__, "__module__": function.__module__}
    for stream in streams:
        if isinstance(stream, str):
            parse_fields(stream, f"the stream of '{function.__name__}'", place)
            body["Default"] = StreamMeta("Default", (Stream,), {"fields": stream, "__slots__": ()})
        elif isinstance(stream, StreamMeta):
            body[stream.__name__] = stream
        else:
            raise DeclarationError(
                f"'{function.__name__}' has a stream {stream!r}; it takes names of fields, or classes that derive from "
                "`Stream`",
                place,
            )
    return body

"""What can be seen in the code of a component without running it.

Owns: arity of what is emitted, names of streams, which fields of its input a bolt reads; each with its line. Leaves to
others: whether the fields are there (`checks`). Invariant: only what is wrong whenever it runs is an error; where the
code cannot be read or the outcome depends on values, nothing is said.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import DeclarationError
from .names import listed
from .places import Place
from .streams import StreamMeta

if TYPE_CHECKING:
    from .components import Bolt, Component, Spout

_YIELDING = ("process", "tick", "finish", "pause", "generate")
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Read:
    """A field of the input that the code reads."""

    field: str
    place: Place


@dataclass(frozen=True)
class _Code:
    """A function's code: its tree, where it stands, and the names of its first arguments."""

    name: str
    tree: ast.FunctionDef | ast.AsyncFunctionDef
    file: str
    offset: int
    is_static: bool

    def place(self, node: ast.AST) -> Place:
        return Place(self.file, self.offset + getattr(node, "lineno", 1))

    @property
    def me(self) -> str | None:
        arguments = self.tree.args.posonlyargs + self.tree.args.args
        return arguments[0].arg if arguments and not self.is_static else None

    @property
    def input(self) -> str | None:
        arguments = self.tree.args.posonlyargs + self.tree.args.args
        number = 0 if self.is_static else 1
        return arguments[number].arg if len(arguments) > number else None


def place_of(function: Callable[..., Any], otherwise: Place) -> Place:
    """Where a function stands."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return otherwise if code is None else Place(code.co_filename, code.co_firstlineno)


def check_bolt(cls: type[Bolt]) -> None:
    """Checks what a bolt's code emits."""
    _check_arguments(cls, "process", ("input",))
    _check_arguments(cls, "tick", ())
    _check_arguments(cls, "finish", ())
    _check_emits(cls, ("stream", "anchors", "task"))


def check_spout(cls: type[Spout]) -> None:
    """Checks what a spout's code emits."""
    _check_arguments(cls, "generate", ())
    _check_arguments(cls, "next", ())
    _check_emits(cls, ("stream", "id", "task"))


def reads(cls: type[Bolt]) -> list[Read]:
    """The fields of its input that a bolt's code reads."""
    code = _code(cls, "process")
    name = None if code is None else _input_of(code)
    if code is None or name is None:
        return []
    found = []
    for node in ast.walk(code.tree):
        if isinstance(node, ast.Attribute) and _is_name(node.value, name):
            found.append(Read(node.attr, code.place(node)))
        elif isinstance(node, ast.Subscript) and _is_name(node.value, name):
            field = node.slice.value if isinstance(node.slice, ast.Constant) else None
            found += [Read(field, code.place(node))] if isinstance(field, str) else []
    return [read for read in found if not read.field.startswith("__")]


def _input_of(code: _Code) -> str | None:
    """What the input is called, unless something else is called so, too."""
    name = code.input
    for node in ast.walk(code.tree):
        is_rebound = isinstance(node, ast.Name) and node.id == name and not isinstance(node.ctx, ast.Load)
        is_shadowed = isinstance(node, ast.arg) and node.arg == name and node not in _arguments(code.tree)
        if is_rebound or is_shadowed:
            return None
    return name


def _arguments(tree: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    return tree.args.posonlyargs + tree.args.args


def _is_name(node: ast.AST, name: str | None) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _code(cls: type[Component], name: str) -> _Code | None:
    """The code of a method, unless it is one of this package or cannot be read."""
    static = inspect.getattr_static(cls, name, None)
    is_static = isinstance(static, staticmethod)
    function = static.__func__ if isinstance(static, staticmethod) else static
    if not inspect.isfunction(function) or function.__module__.startswith("umbrella."):
        return None
    function = inspect.unwrap(function)
    try:
        lines, first = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError):
        return None
    if len(tree.body) != 1 or not isinstance(tree.body[0], _FUNCTIONS):
        return None
    return _Code(name, tree.body[0], function.__code__.co_filename, first - 1, is_static)


def _check_arguments(cls: type[Component], name: str, expected: tuple[str, ...]) -> None:
    static = inspect.getattr_static(cls, name)
    is_static = isinstance(static, staticmethod)
    function = static.__func__ if isinstance(static, staticmethod) else static
    try:
        inspect.signature(function).bind(*(() if is_static else (None,)), *expected)
    except (TypeError, ValueError):
        before = () if is_static else ("self",)
        shown = f"{function.__name__}({', '.join((*before, *expected))})"
        place = place_of(function, cls._class_place)
        raise DeclarationError(
            f"'{cls.__name__}' has `{function.__name__}{inspect.signature(function)}`; it is called as `{shown}`", place
        ) from None


def _check_emits(cls: type[Component], settings: tuple[str, ...]) -> None:
    for name, value in vars(cls).items():
        if not inspect.isfunction(value) and not isinstance(value, staticmethod):
            continue
        code = _code(cls, name)
        if code is None:
            continue
        checker = _Emits(cls, code, settings)
        for node in ast.walk(code.tree):
            if isinstance(node, ast.Call):
                checker.call(node)
        if name in _YIELDING:
            for node in _own_nodes(code.tree):
                if isinstance(node, ast.Yield) and node.value is not None:
                    checker.value(node.value, "yields")
                elif isinstance(node, ast.Return) and node.value is not None and name != "generate":
                    checker.returned(node.value)


def _own_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function without those of functions inside of it."""
    for child in ast.iter_child_nodes(tree):
        yield child
        if not isinstance(child, (*_FUNCTIONS, ast.Lambda, ast.ClassDef)):
            yield from _own_nodes(child)


class _Emits:
    def __init__(self, cls: type[Component], code: _Code, settings: tuple[str, ...]) -> None:
        self.cls = cls
        self.code = code
        self.settings = settings
        self.input = _input_of(code) if code.name == "process" else None
        self.streams: dict[str, StreamMeta] = dict(cls._streams)
        self.default = next((each for each in self.streams.values() if each.stream == "default"), None)
        by_class = {stream.__name__: stream for stream in self.streams.values()}
        self.by_class = by_class

    def value(self, node: ast.expr, does: str) -> None:
        """What is yielded."""
        if isinstance(node, ast.Tuple):
            if not any(isinstance(each, ast.Starred) for each in node.elts):
                self._default(node, len(node.elts), does)
        elif (
            isinstance(node, (ast.JoinedStr, ast.List, ast.Dict))
            or (isinstance(node, ast.Constant) and node.value is not None)
            or self._is_field(node)
            or (not self.streams and not (isinstance(node, ast.Constant)))
        ):
            self._default(node, 1, does)

    def _is_field(self, node: ast.expr) -> bool:
        """Whether it is one value of the input."""
        is_one = isinstance(node, ast.Attribute) or (
            isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant)
        )
        return is_one and _is_name(node.value, self.input)  # type: ignore[attr-defined]

    def returned(self, node: ast.expr) -> None:
        is_literal = isinstance(node, (ast.Tuple, ast.JoinedStr, ast.Constant))
        if is_literal or self._is_field(node):
            self.value(node, "returns")

    def call(self, node: ast.Call) -> None:
        """A call that may emit or make a row."""
        function = node.func
        if isinstance(function, ast.Attribute) and _is_name(function.value, self.code.me):
            if function.attr in self.streams:
                self._row(node, self.streams[function.attr], ())
            elif function.attr == "emit":
                self._emit(node)
            elif (
                function.attr[:1].isupper() and not hasattr(self.cls, function.attr) and not self._is_set(function.attr)
            ):
                raise DeclarationError(
                    f"'{self.cls.__name__}' has no stream '{function.attr}'; it has {listed(self.streams)}",
                    self.code.place(node),
                )
        elif isinstance(function, ast.Name) and self.code.is_static and function.id in self.by_class:
            self._row(node, self.by_class[function.id], ())

    def _is_set(self, name: str) -> bool:
        return any(isinstance(node, ast.Attribute) and node.attr == name and isinstance(node.ctx, ast.Store)
                   for node in ast.walk(self.code.tree))  # fmt: skip

    def _emit(self, node: ast.Call) -> None:
        to = next((each.value for each in node.keywords if each.arg == "stream"), None)
        if to is not None:
            if isinstance(to, ast.Attribute) and to.attr in self.streams:
                self._row(node, self.streams[to.attr], self.settings)
        elif len(node.args) == 1 and isinstance(node.args[0], ast.Call) and self._makes_row(node.args[0]):
            pass
        elif len(node.args) == 1 and not isinstance(node.args[0], (ast.Constant, ast.JoinedStr, ast.Starred)):
            # It may be a row.
            if not self.streams:
                self._default(node, 1, "emits")
        elif self.default is None:
            self._default(node, 0, "emits")
        else:
            self._row(node, self.default, self.settings)

    def _makes_row(self, node: ast.Call) -> bool:
        function = node.func
        return isinstance(function, ast.Attribute) and function.attr in self.streams

    def _row(self, node: ast.Call, stream: StreamMeta, settings: tuple[str, ...]) -> None:
        is_open = any(isinstance(each, ast.Starred) for each in node.args) or any(
            each.arg is None for each in node.keywords
        )
        named = [each.arg for each in node.keywords if each.arg is not None and each.arg not in settings]
        for name in named:
            if name not in stream.names:
                raise DeclarationError(
                    f"stream '{stream.stream}' of '{self.cls.__name__}' has no field '{name}'; it has "
                    f"{listed(stream.names)}",
                    self.code.place(node),
                )
        if not is_open:
            self._arity(node, len(node.args) + len(named), stream, "emits")

    def _default(self, node: ast.AST, count: int, does: str) -> None:
        if self.default is None:
            has = f"its streams are {listed(self.streams)}" if self.streams else "it has no streams"
            raise DeclarationError(
                f"'{self.cls.__name__}' {does} to the stream 'default', but {has}; declare "
                "`class Default(Stream): fields = ...` in it",
                self.code.place(node),
            )
        self._arity(node, count, self.default, does)

    def _arity(self, node: ast.AST, count: int, stream: StreamMeta, does: str) -> None:
        if count != len(stream.names):
            values = "1 value" if count == 1 else f"{count} values"
            fields = "1 field" if len(stream.names) == 1 else f"{len(stream.names)} fields"
            raise DeclarationError(
                f"'{self.cls.__name__}' {does} {values} to the stream '{stream.stream}', which has {fields}: "
                f"{', '.join(stream.names)}",
                self.code.place(node),
            )

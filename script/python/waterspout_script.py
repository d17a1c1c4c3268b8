"""The script protocol of Waterspout for Python 3.10 and later, in one file without dependencies.

A worker runs `python3 waterspout_script.py` for each task of a `script: {python: ...}`; a program of one's own calls
`serve(make)`. If the package `msgpack` is there, messages are MessagePack, else JSON.

A script has functions: `process(tup)` makes it a bolt, `spout()` a spout. Beside them it may have `tick()`, `finish()`
and `pause()`. It is given `context`, `state`, `emit`, `hold`, `ack`, `fail`, `log` and `alive`. A script with
`make(context)` returns an object with these as methods, or one with `batch(...)` or `poll(...)`, which is called for
many tuples at once.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import gc
import importlib
import inspect
import json
import os
import sys
import traceback
import types
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import Any, TypeAlias

msgpack: Any
try:
    msgpack = importlib.import_module("msgpack")
except ImportError:
    msgpack = None

Row: TypeAlias = Sequence[Any]
#: Anchors, rows and, on a direct stream, tasks: lists of one length.
Run: TypeAlias = tuple[list[Any], ...]

VERSION = 1
MAX_MESSAGE = 64 << 20
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
_MICROSECOND = datetime.timedelta(microseconds=1)


class Timestamp:
    """A point in time that is beyond the years of `datetime`: `micros` since 1970 in UTC."""

    __slots__ = ("micros",)

    def __init__(self, micros: int) -> None:
        self.micros = micros

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Timestamp) and self.micros == other.micros

    def __hash__(self) -> int:
        return hash(self.micros)

    def __repr__(self) -> str:
        return f"Timestamp({self.micros})"


def _to_time(micros: int) -> datetime.datetime | Timestamp:
    try:
        return _EPOCH + datetime.timedelta(microseconds=micros)
    except OverflowError:
        return Timestamp(micros)


def _micros(value: datetime.datetime | Timestamp) -> int:
    if isinstance(value, Timestamp):
        return value.micros
    if value.tzinfo is None:
        raise TypeError("a datetime without a time zone is no point in time; give it one, such as timezone.utc")
    return (value - _EPOCH) // _MICROSECOND


class _Pack:
    """MessagePack, by the package `msgpack`."""

    name = "MessagePack"

    def __init__(self) -> None:
        self.packer = msgpack.Packer(default=self._default, use_bin_type=True)

    def encode(self, message: object) -> bytes:
        try:
            data: bytes = self.packer.pack(message)
            return data
        except BaseException:
            self.packer.reset()
            raise

    def decode(self, data: bytes) -> Any:
        return msgpack.unpackb(data, ext_hook=self._extension, raw=False, strict_map_key=False)

    @staticmethod
    def _default(value: object) -> Any:
        if isinstance(value, int):
            length = (value.bit_length() + 8) // 8
            return msgpack.ExtType(1, value.to_bytes(length, "big", signed=True))
        if isinstance(value, (datetime.datetime, Timestamp)):
            return msgpack.ExtType(2, _micros(value).to_bytes(8, "big", signed=True))
        raise TypeError(_no_value(value))

    @staticmethod
    def _extension(code: int, data: bytes) -> Any:
        number = int.from_bytes(data, "big", signed=True)
        if code == 1:
            return number
        if code == 2:
            return _to_time(number)
        raise ValueError(f"extension {code} is not known")


class _Json:
    """JSON, by the standard library."""

    name = "Json"

    def encode(self, message: object) -> bytes:
        text = self._dumps(message)
        if '"$' in text:
            # Perhaps a key: written again, with care.
            text = self._dumps(_escaped(message))
        return text.encode()

    def _dumps(self, message: object) -> str:
        try:
            return json.dumps(message, ensure_ascii=False, separators=(",", ":"), default=_tagged, check_circular=False)
        except ValueError:
            # An integer of very many digits.
            return json.dumps(_escaped(message), ensure_ascii=False, separators=(",", ":"), check_circular=False)

    def decode(self, data: bytes) -> Any:
        if b'"$map"' in data:
            # A hook would see what is in it first.
            return _untagged_deep(json.loads(data))
        return json.loads(data, object_hook=_untagged)


def _no_value(value: object) -> str:
    return f"{type(value).__name__} is no value of a tuple: {value!r:.100}"


def _tagged(value: object) -> dict[str, Any]:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, (datetime.datetime, Timestamp)):
        return {"$time": _micros(value)}
    raise TypeError(_no_value(value))


def _escaped(value: object) -> Any:
    if isinstance(value, (list, tuple)):
        return [_escaped(item) for item in value]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"a key of a map is no text: {key!r:.100}")
        inner = {key: _escaped(item) for key, item in value.items()}
        if "$map" in inner or (len(inner) == 1 and next(iter(inner)).startswith("$")):
            return {"$map": inner}
        return inner
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 64:
        return {"$int": hex(value)}
    if value is None or isinstance(value, (str, int, float)):
        return value
    return _tagged(value)


def _untagged(value: dict[str, Any]) -> Any:
    if len(value) == 1:
        ((key, item),) = value.items()
        if key == "$bytes":
            return base64.b64decode(item)
        if key == "$time":
            return _to_time(item)
        if key == "$int":
            return int(item, 16)
        if key == "$float":
            return float(item)
    return value


def _untagged_deep(value: Any) -> Any:
    if isinstance(value, list):
        return [_untagged_deep(item) for item in value]
    if isinstance(value, dict):
        if len(value) == 1 and "$map" in value:
            return {key: _untagged_deep(item) for key, item in value["$map"].items()}
        return _untagged({key: _untagged_deep(item) for key, item in value.items()})
    return value


class Stream:
    """A stream of the context."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.stream = spec["stream"]
        self.fields = spec["fields"]
        self.component = spec.get("component")
        self.direct = spec.get("direct", False)
        self.readers = {reader["component"]: reader["tasks"] for reader in spec.get("readers", ())}


class Context:
    """What a component is told when it is made."""

    def __init__(self, hello: dict[str, Any]) -> None:
        self.role = hello["role"]
        self.topology = hello["topology"]
        self.component = hello["component"]
        self.task = hello["task"]
        self.index = hello["index"]
        self.tasks = hello["tasks"]
        self.inputs = [Stream(spec) for spec in hello["inputs"]]
        self.outputs = [Stream(spec) for spec in hello["outputs"]]
        self.config = hello["config"]
        self.script: str | None = hello.get("script")
        #: Where the component emits to, once there is a worker that listens.
        self.out: Out | None = None

    def output(self, name: str = "default") -> int:
        """The number of an output stream."""
        for number, output in enumerate(self.outputs):
            if output.stream == name:
                return number
        declared = ", ".join(output.stream for output in self.outputs) or "none"
        raise LookupError(f"component '{self.component}' emits to stream '{name}'; it declares {declared}")


def _trace(error: BaseException) -> str:
    """The traceback from the script on; nothing if no line of the script is in it."""
    place = error.__traceback__
    while place is not None and _is_own(place.tb_frame.f_globals):
        place = place.tb_next
    if place is None and not isinstance(error, SyntaxError):
        return ""
    return "".join(traceback.format_exception(type(error), error, place))


def _is_own(names: dict[str, Any]) -> bool:
    return names is globals() or names.get("__package__") in ("umbrella", "importlib")


class Out:
    """Where a component emits to, and what it says of its tuples, which goes to the worker with the next answer."""

    def __init__(self, context: Context, link: _Link) -> None:
        self.context = context
        self._link = link
        self._begin()

    def _begin(self) -> None:
        self._runs: dict[int, Run] = {}
        self._failed: list[int] = []
        self._held: dict[int, bool] = {}

    def lists(self, output: int) -> Run:
        """The list of anchors and the list of rows of an output, to be appended to together."""
        run = self._runs.get(output)
        if run is None:
            run = self._runs[output] = ([], [])
        return run

    def emit(self, output: int, anchor: Any, row: Row) -> None:
        """Emits a row, for the id of a tuple, several ids, or None. In a spout, `anchor` is the message id."""
        anchors, rows = self.lists(output)
        anchors.append(anchor)
        rows.append(row)

    def emit_direct(self, output: int, anchor: Any, row: Row, task: int) -> None:
        """Emits a row to one task, on a direct stream."""
        run = self._runs.get(output)
        if run is None:
            run = self._runs[output] = ([], [], [])
        run[0].append(anchor)
        run[1].append(row)
        run[2].append(task)

    def fail(self, id: int) -> None:
        """Fails a tuple of the batch."""
        self._failed.append(id)

    def hold(self, id: int) -> None:
        """Holds a tuple of the batch: it is not acked by the answer."""
        self._held[id] = True

    def ack(self, id: int | list[int]) -> None:
        """Acks a held tuple, or several, behind what was emitted so far."""
        self._end("ack", id)

    def fail_held(self, id: int | list[int]) -> None:
        """Fails a held tuple, or several."""
        self._failed.extend(self._end("fail", id))

    def _end(self, what: str, id: int | list[int]) -> list[int]:
        """Tells the worker of tuples of earlier batches. Those of this one, which its answer is about."""
        ids = id if isinstance(id, list) else [id]
        of_this = [each for each in ids if self._held.pop(each, False)]
        earlier = [each for each in ids if each not in of_this] if of_this else ids
        if earlier:
            self.send()
            self._link.send([what, earlier])
        return of_this

    def log(self, level: str, text: object) -> None:
        """Writes a line to the log: Trace, Debug, Info, Warn or Error."""
        self._link.send(["log", level, str(text)])

    def error(self, text: object, trace: str = "", reason: str | None = None) -> None:
        """Says that something failed, and perhaps why, in a word such as `RequirementsMissing`."""
        self._link.send(["error", str(text), trace, reason])

    def exception(self, error: BaseException) -> None:
        """Says that an exception was caught. It may have its reason in an attribute `waterspout_reason`."""
        self.error(f"{type(error).__name__}: {error}", _trace(error), getattr(error, "waterspout_reason", None))

    def metric(self, name: str, value: float) -> None:
        """Adds to a counter."""
        self._link.send(["metric", name, value])

    def alive(self) -> None:
        """Says that work is under way."""
        self._link.send(["alive"])

    def send(self) -> None:
        """Sends what was emitted so far without an answer. Its anchors must be held tuples."""
        emits = self._take()
        if emits:
            self._link.send(["emit", emits])

    def _take(self) -> list[list[Any]]:
        runs, self._runs = self._runs, {}
        emits = []
        for output, run in runs.items():
            if run[1]:
                rows, fields = run[1], len(self.context.outputs[output].fields)
                if set(map(len, rows)) != {fields}:
                    run = self._without_wrong(output, run, fields)
                emits.append([output, *run])
        return emits

    def _without_wrong(self, output: int, run: Run, fields: int) -> Run:
        name = self.context.outputs[output].stream
        right = [index for index, row in enumerate(run[1]) if len(row) == fields]
        for index in set(range(len(run[1]))) - set(right):
            found = len(run[1][index])
            self.error(f"a tuple with {found} values was emitted to stream '{name}', which has {fields} fields")
            self._fail_anchor(run[0][index])
        return tuple([part[index] for index in right] for part in run)

    def _fail_anchor(self, anchor: Any) -> None:
        if self.context.role == "Bolt" and anchor is not None:
            self._failed.extend(anchor if isinstance(anchor, (list, tuple)) else [anchor])

    def _encodable(self, emits: list[list[Any]]) -> list[list[Any]]:
        """Emits without the rows that cannot be written."""
        right = []
        for run in emits:
            keep = []
            for index, row in enumerate(run[2]):
                try:
                    self._link.encoding.encode(row)
                    keep.append(index)
                except Exception as error:
                    self.error(f"a tuple cannot be emitted: {error}")
                    self._fail_anchor(run[1][index])
            right.append([run[0], *([part[index] for index in keep] for part in run[1:])])
        return right

    def _answer(self, first: Sequence[Any], *behind: Any) -> None:
        """Answers with all that was emitted since the last answer."""
        emits = self._take()
        try:
            data = self._link.encoding.encode([*first, emits, *[part() if callable(part) else part for part in behind]])
        except Exception:
            emits = self._encodable(emits)
            data = self._link.encoding.encode([*first, emits, *[part() if callable(part) else part for part in behind]])
        self._link.write(data)
        self._begin()


class _Link:
    """The two descriptors."""

    def __init__(self, reads: int, writes: int) -> None:
        self.reader = os.fdopen(reads, "rb", buffering=1 << 20)
        self.writes = writes
        self.encoding: _Pack | _Json = _Json()

    def read(self) -> bytes | None:
        """The next message as bytes; None at the end."""
        head = self.reader.read(4)
        if len(head) < 4:
            return None
        length = int.from_bytes(head, "little")
        data = self.reader.read(length)
        return data if len(data) == length else None

    def write(self, data: bytes) -> None:
        if len(data) > MAX_MESSAGE:
            raise ValueError(f"a message of {len(data)} bytes is too long; {MAX_MESSAGE} are the most")
        rest = memoryview(len(data).to_bytes(4, "little") + data)
        while rest:
            rest = rest[os.write(self.writes, rest) :]

    def send(self, message: object) -> None:
        self.write(self.encoding.encode(message))


def serve(make: Callable[[Context], Any], reads: int = 3, writes: int = 4) -> None:
    """Runs the component that `make(context)` returns until the worker ends it."""
    link = _Link(reads, writes)
    hello = json.loads(link.read() or b"{}")
    if hello.get("waterspout") != VERSION:
        raise SystemExit(f"this is version {VERSION} of the script protocol, and the worker said {hello!r:.200}")
    context = Context(hello)
    out = context.out = Out(context, link)
    try:
        component = make(context)
        if context.role == "Bolt" and not hasattr(component, "batch"):
            component = _PerTuple(component, context)
        if context.role == "Spout" and not hasattr(component, "poll"):
            component = _Generated(component, context)
        if hasattr(component, "start"):
            component.start(out)
    except Exception as error:
        out.exception(error)
        raise SystemExit(1) from None
    wants = os.environ.get("WATERSPOUT_ENCODING", "MessagePack")
    encoding = _Pack() if msgpack is not None and wants == "MessagePack" else _Json()
    link.send({"waterspout": VERSION, "encoding": encoding.name})
    link.encoding = encoding
    # The tuples of a batch are no garbage yet: looking for some is to be rarer than by default.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    loop = _spout_loop if context.role == "Spout" else _bolt_loop
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        loop(component, out, link)


def _bolt_loop(component: Any, out: Out, link: _Link) -> None:
    batch, decode = component.batch, link.encoding.decode
    while (data := link.read()) is not None:
        message = decode(data)
        kind = message[0]
        if kind == "batch":
            _, first, input, source, rows = message
            try:
                batch(input, source, first, rows, out)
            except Exception as error:
                out._begin()
                out._failed.extend(range(first, first + len(rows)))
                out.exception(error)
            out._answer(("done", first), lambda: out._failed, lambda: list(out._held))
        else:
            _other(component, kind, message, out, link)


def _call(component: Any, name: str, out: Out, *arguments: Any) -> Any:
    method = getattr(component, name, None)
    if method is None:
        return None
    try:
        return method(*arguments)
    except Exception as error:
        out.exception(error)
        return None


def _other(component: Any, kind: str, message: list[Any], out: Out, link: _Link) -> None:
    if kind == "tick":
        _call(component, "tick", out, out)
        out._answer(("ticked",))
    elif kind == "finish":
        more = _call(component, "finish", out, out)
        out._answer(("finished",), bool(more))
    elif kind == "pause":
        _call(component, "pause", out, out)
        out._answer(("paused",))
    elif kind == "forget":
        _call(component, "forget", out)
    elif kind == "snapshot":
        link.send(["state", _call(component, "snapshot", out) or []])
    elif kind == "restore":
        # What goes wrong here must not be taken for an empty state.
        component.restore(message[1])
    elif kind == "ping":
        link.send(["pong", message[1]])


def _spout_loop(component: Any, out: Out, link: _Link) -> None:
    decode = link.encoding.decode
    while (data := link.read()) is not None:
        message = decode(data)
        kind = message[0]
        if kind == "poll":
            idle = component.poll(message[1], out)
            position = getattr(component, "position", None)
            out._answer(("polled",), idle, position() if position else None)
        elif kind == "settle":
            component.settle(message[1], message[2] if len(message) > 2 else [])
        elif kind == "resume":
            resume = getattr(component, "resume", None)
            if resume:
                resume(message[1])
        elif kind == "pause":
            _call(component, "pause", out)
            link.send(["paused"])
        elif kind == "ping":
            link.send(["pong", message[1]])


class Emit:
    """A tuple for a stream that is not the first one: what `emit(...)` returns, to be yielded."""

    __slots__ = ("anchors", "stream", "task", "values")

    def __init__(self, stream: str, values: Row, task: int | None = None, anchors: Sequence[int] = ()) -> None:
        self.stream = stream
        self.values = values
        self.task = task
        self.anchors = anchors


def emit(stream: str, *values: Any, task: int | None = None, anchors: Sequence[int] = ()) -> Emit:
    """A tuple for the named stream, to be yielded; `anchors` are ids of held tuples that it belongs to as well."""
    return Emit(stream, values, task, anchors)


class Tuple(tuple[Any, ...]):
    """A tuple of an input: its fields by name, position and `[name]`."""

    __slots__ = ()
    _names = ()
    component = stream = ""

    def get(self, name: str, default: Any = None) -> Any:
        """A field by its name."""
        names = type(self)._names
        return self[names.index(name)] if name in names else default

    def asdict(self) -> dict[str, Any]:
        """The fields by name."""
        return dict(zip(type(self)._names, self, strict=True))


def tuple_class(stream: Stream) -> type[Tuple]:
    """The class of the tuples of one input."""
    members = {"__slots__": (), "_names": tuple(stream.fields), "component": stream.component, "stream": stream.stream}
    for index, name in enumerate(stream.fields):
        # A field wins over what tuples have of that name, such as `count`.
        if name.isidentifier():
            members[name] = _field(index)
    return type("Tuple", (Tuple,), members)


def _field(index: int) -> Any:
    try:
        # What named tuples have their fields by.
        return importlib.import_module("_collections")._tuplegetter(index, None)
    except (ImportError, AttributeError):
        return property(itemgetter(index))


class _PerTuple:
    """Calls `process(tup)` for each tuple of a batch, and takes what it yields or returns."""

    def __init__(self, component: Any, context: Context) -> None:
        self.component = component
        self.context = context
        process = getattr(component, "process", None)
        if process is None:
            raise TypeError("a script that is a bolt has a function process(tup)")
        self.process: Callable[[Any], Any] = process
        self.classes = [tuple_class(stream) for stream in context.inputs]
        self.current: int | None = None
        self.finishing: Iterator[Any] | None = None
        for name in ("tick", "finish", "pause", "forget"):
            if not hasattr(component, name):
                setattr(self, name, None)

    def start(self, out: Out) -> None:
        if hasattr(self.component, "start"):
            self.component.start(out)

    def batch(self, input: int, source: int, first: int, rows: list[Any], out: Out) -> None:
        process, make, cls = self.process, tuple.__new__, self.classes[input]
        has_output = bool(self.context.outputs)
        anchors, emitted = out.lists(0) if has_output else ([], [])
        id = first
        for row in rows:
            self.current = id
            try:
                result = process(make(cls, row))
                if result is not None:
                    if result.__class__ is tuple:
                        anchors.append(id)
                        emitted.append(result)
                    else:
                        for values in result:
                            if values.__class__ is tuple and has_output:
                                anchors.append(id)
                                emitted.append(values)
                            else:
                                self.special(id, values, out)
            except Exception as error:
                while anchors and anchors[-1] == id:
                    anchors.pop()
                    emitted.pop()
                out.fail(id)
                out.exception(error)
            id += 1
        self.current = None

    def special(self, id: int | None, values: Any, out: Out) -> None:
        """What is yielded and is no plain tuple for the first stream."""
        anchor: Any = id
        if isinstance(values, Emit):
            output = self.context.output(values.stream)
            if values.anchors:
                anchor = list(values.anchors)
                if id is not None:
                    anchor.append(id)
            if values.task is not None:
                return out.emit_direct(output, anchor, values.values, values.task)
            return out.emit(output, anchor, values.values)
        if not self.context.outputs:
            raise LookupError(f"component '{self.context.component}' emits, and declares no stream")
        if isinstance(values, dict):
            values = tuple(values[field] for field in self.context.outputs[0].fields)
        elif not isinstance(values, (list, tuple)):
            # One value for a stream of one field.
            values = (values,)
        return out.emit(0, anchor, values)

    def each(self, result: Any, out: Out) -> None:
        """What a function without a tuple at hand yields or returns."""
        if result is None:
            return
        for values in [result] if isinstance(result, tuple) else result:
            self.special(None, values, out)

    def tick(self, out: Out) -> None:
        self.each(self.component.tick(), out)

    def pause(self, out: Out) -> None:
        self.each(self.component.pause(), out)

    def forget(self) -> None:
        self.component.forget()

    def finish(self, out: Out) -> bool:
        if self.finishing is None:
            result = self.component.finish()
            self.finishing = iter([result] if isinstance(result, tuple) else result or ())
        for _ in range(512):
            try:
                values = next(self.finishing)
            except StopIteration:
                return False
            self.special(None, values, out)
        return True

    def snapshot(self) -> Any:
        if hasattr(self.component, "snapshot"):
            return self.component.snapshot()
        return [[list(key) if isinstance(key, tuple) else [key], value] for key, value in self.state().items()]

    def restore(self, parts: list[Any]) -> None:
        if hasattr(self.component, "restore"):
            self.component.restore(parts)
            return
        for key, value in parts:
            self.state()[key[0] if len(key) == 1 else tuple(key)] = value

    def state(self) -> dict[Any, Any]:
        return getattr(self.component, "state", {})


class _Generated:
    """Emits what the generator `spout()` yields, and again what failed.

    `spout(position)` is told how many of its tuples are done, so that it can go on behind them.
    """

    def __init__(self, component: Any, context: Context) -> None:
        spout = getattr(component, "spout", None)
        if spout is None:
            raise TypeError("a script that is a spout has a function spout()")
        self.spout = spout
        self.context = context
        self.has_position = len(inspect.signature(spout).parameters) > 0
        self.generator: Iterator[Any] | None = None
        self.base = 0
        self.next_id = 0
        self.pending: dict[int, tuple[int, Row]] = {}
        self.again: list[int] = []
        self.done: set[int] = set()
        self.ended = False

    def resume(self, position: Any) -> None:
        if self.has_position:
            self.base = self.next_id = position

    def position(self) -> int | None:
        return self.base if self.has_position else None

    def poll(self, room: int, out: Out) -> int | None:
        if self.generator is None:
            self.generator = iter(self.spout(self.base) if self.has_position else self.spout())
        for id in self.again[:room]:
            if id in self.pending:
                output, row = self.pending[id]
                out.emit(output, id, row)
        count = len(self.again[:room])
        del self.again[:count]
        while count < min(room, 512) and not self.ended:
            try:
                values = next(self.generator)
            except StopIteration:
                self.ended = True
                break
            if values is None:
                return 10
            output = 0
            if isinstance(values, Emit):
                output, values = self.context.output(values.stream), values.values
            elif isinstance(values, dict):
                values = tuple(values[field] for field in self.context.outputs[0].fields)
            elif not isinstance(values, (tuple, list)):
                values = (values,)
            self.pending[self.next_id] = (output, values)
            out.emit(output, self.next_id, values)
            self.next_id += 1
            count += 1
        return -1 if self.ended and not self.again else None

    def settle(self, acked: list[int], failed: list[int]) -> None:
        for id in acked:
            if self.pending.pop(id, None) is not None:
                self.done.add(id)
        while self.base in self.done:
            self.done.discard(self.base)
            self.base += 1
        self.again.extend(id for id in failed if id in self.pending)


class _Script:
    """A script's functions as methods."""

    def __init__(self, namespace: dict[str, Any]) -> None:
        self.namespace = namespace

    def __getattr__(self, name: str) -> Any:
        try:
            return self.namespace[name]
        except KeyError:
            raise AttributeError(name) from None


def load(context: Context) -> Any:
    """The component of the script that the context names."""
    path = context.script
    if path is None:
        raise LookupError("the worker named no script")
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    module = types.ModuleType("__script__")
    module.__file__ = path
    sys.modules["__script__"] = module
    script = _Script(module.__dict__)
    wrapper: _PerTuple | None = None

    def outlet() -> Out:
        assert context.out is not None
        return context.out

    def current() -> int:
        if wrapper is None or wrapper.current is None:
            raise LookupError("no tuple is at hand here")
        return wrapper.current

    def hold() -> int:
        """Holds the tuple at hand and returns its id."""
        outlet().hold(current())
        return current()

    def ack(id: int) -> None:
        """Acks a held tuple."""
        outlet().ack(id)

    def fail(id: int | None = None) -> None:
        """Fails a held tuple, or the tuple at hand."""
        if id is None:
            outlet().fail(current())
        else:
            outlet().fail_held(id)

    def log(text: object, level: str = "Info") -> None:
        """Writes a line to the worker's log."""
        outlet().log(level, text)

    def alive() -> None:
        """Says that work is under way, so that the worker goes on waiting for an answer."""
        outlet().alive()

    module.__dict__.update(
        context=context,
        state={},
        emit=emit,
        hold=hold,
        ack=ack,
        fail=fail,
        log=log,
        alive=alive,
        Timestamp=Timestamp,
    )
    with open(path, encoding="utf-8") as file:
        code = compile(file.read(), path, "exec")
    exec(code, module.__dict__)
    if "make" in module.__dict__:
        return module.__dict__["make"](context)
    if context.role == "Spout":
        return script if "poll" in module.__dict__ else _Generated(script, context)
    if "batch" in module.__dict__:
        return script
    wrapper = _PerTuple(script, context)
    return wrapper


if __name__ == "__main__":
    # What a script imports by this name is this module, not a second one.
    sys.modules["waterspout_script"] = sys.modules["__main__"]
    serve(load)

"""The script protocol of Waterspout for Python 3.10 and later, in one file without dependencies.

A worker runs `python3 waterspout_script.py` for each task of a `script: {python: ...}`; a program of one's own calls
`serve(make)`. If the package `msgpack` is there, messages are MessagePack, else JSON.

A script has functions: `process(tup)` makes it a bolt, `spout()` a spout. Beside them it may have `tick()`, `finish()` and
`pause()`. It is given `context`, `state`, `emit`, `hold`, `ack`, `fail` and `log`. A script with `make(context)` returns an object with
these as methods, or one with `batch(...)` or `poll(...)`, which is called for many tuples at once.
"""

import base64
import datetime
import gc
import inspect
import json
import os
import sys
import traceback
import types

try:
    import msgpack
except ImportError:
    msgpack = None

VERSION = 1
MAX_MESSAGE = 64 << 20
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
_MICROSECOND = datetime.timedelta(microseconds=1)


class Timestamp:
    """A point in time that is beyond the years of `datetime`: `micros` since 1970 in UTC."""

    __slots__ = ("micros",)

    def __init__(self, micros):
        self.micros = micros

    def __eq__(self, other):
        return isinstance(other, Timestamp) and self.micros == other.micros

    def __hash__(self):
        return hash(self.micros)

    def __repr__(self):
        return f"Timestamp({self.micros})"


def _to_time(micros):
    try:
        return _EPOCH + datetime.timedelta(microseconds=micros)
    except OverflowError:
        return Timestamp(micros)


def _micros(value):
    if isinstance(value, Timestamp):
        return value.micros
    if value.tzinfo is None:
        raise TypeError("a datetime without a time zone is no point in time; give it one, such as timezone.utc")
    return (value - _EPOCH) // _MICROSECOND


class _Pack:
    """MessagePack, by the package `msgpack`."""

    name = "MessagePack"

    def __init__(self):
        self.packer = msgpack.Packer(default=self._default, use_bin_type=True)

    def encode(self, message):
        try:
            return self.packer.pack(message)
        except BaseException:
            self.packer.reset()
            raise

    def decode(self, data):
        return msgpack.unpackb(data, ext_hook=self._extension, raw=False, strict_map_key=False)

    @staticmethod
    def _default(value):
        if isinstance(value, int):
            length = (value.bit_length() + 8) // 8
            return msgpack.ExtType(1, value.to_bytes(length, "big", signed=True))
        if isinstance(value, (datetime.datetime, Timestamp)):
            return msgpack.ExtType(2, _micros(value).to_bytes(8, "big", signed=True))
        raise TypeError(_no_value(value))

    @staticmethod
    def _extension(code, data):
        number = int.from_bytes(data, "big", signed=True)
        if code == 1:
            return number
        if code == 2:
            return _to_time(number)
        raise ValueError(f"extension {code} is not known")


class _Json:
    """JSON, by the standard library."""

    name = "Json"

    def encode(self, message):
        text = self._dumps(message)
        if '"$' in text:
            # Perhaps a key: written again, with care.
            text = self._dumps(_escaped(message))
        return text.encode()

    def _dumps(self, message):
        try:
            return json.dumps(message, ensure_ascii=False, separators=(",", ":"), default=_tagged, check_circular=False)
        except ValueError:
            # An integer of very many digits.
            return json.dumps(_escaped(message), ensure_ascii=False, separators=(",", ":"), check_circular=False)

    def decode(self, data):
        if b'"$map"' in data:
            # A hook would see what is in it first.
            return _untagged_deep(json.loads(data))
        return json.loads(data, object_hook=_untagged)


def _no_value(value):
    return f"{type(value).__name__} is no value of a tuple: {value!r:.100}"


def _tagged(value):
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, (datetime.datetime, Timestamp)):
        return {"$time": _micros(value)}
    raise TypeError(_no_value(value))


def _escaped(value):
    if isinstance(value, (list, tuple)):
        return [_escaped(item) for item in value]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"a key of a map is no text: {key!r:.100}")
        inner = {key: _escaped(item) for key, item in value.items()}
        if "$map" in inner or len(inner) == 1 and next(iter(inner)).startswith("$"):
            return {"$map": inner}
        return inner
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 64:
        return {"$int": hex(value)}
    if value is None or isinstance(value, (str, int, float)):
        return value
    return _tagged(value)


def _untagged(value):
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


def _untagged_deep(value):
    if isinstance(value, list):
        return [_untagged_deep(item) for item in value]
    if isinstance(value, dict):
        if len(value) == 1 and "$map" in value:
            return {key: _untagged_deep(item) for key, item in value["$map"].items()}
        return _untagged({key: _untagged_deep(item) for key, item in value.items()})
    return value


class Stream:
    """A stream of the context."""

    def __init__(self, spec):
        self.stream = spec["stream"]
        self.fields = spec["fields"]
        self.component = spec.get("component")
        self.direct = spec.get("direct", False)
        self.readers = {reader["component"]: reader["tasks"] for reader in spec.get("readers", ())}


class Context:
    """What a component is told when it is made."""

    def __init__(self, hello):
        self.role = hello["role"]
        self.topology = hello["topology"]
        self.component = hello["component"]
        self.task = hello["task"]
        self.index = hello["index"]
        self.tasks = hello["tasks"]
        self.inputs = [Stream(spec) for spec in hello["inputs"]]
        self.outputs = [Stream(spec) for spec in hello["outputs"]]
        self.config = hello["config"]
        self.script = hello.get("script")

    def output(self, name="default"):
        """The number of an output stream."""
        for number, output in enumerate(self.outputs):
            if output.stream == name:
                return number
        declared = ", ".join(output.stream for output in self.outputs) or "none"
        raise LookupError(f"component '{self.component}' emits to stream '{name}'; it declares {declared}")


class Out:
    """Where a component emits to, and what it says of its tuples. What is said goes to the worker with the next answer."""

    def __init__(self, context, link):
        self.context = context
        self._link = link
        self._begin()

    def _begin(self):
        self._runs = {}
        self._failed = []
        self._held = []

    def lists(self, output):
        """The list of anchors and the list of rows of an output, to be appended to together."""
        run = self._runs.get(output)
        if run is None:
            run = self._runs[output] = ([], [])
        return run

    def emit(self, output, anchor, row):
        """Emits a row, for the id of a tuple, several ids, or None. In a spout, `anchor` is the message id."""
        anchors, rows = self.lists(output)
        anchors.append(anchor)
        rows.append(row)

    def emit_direct(self, output, anchor, row, task):
        """Emits a row to one task, on a direct stream."""
        run = self._runs.get(output)
        if run is None:
            run = self._runs[output] = ([], [], [])
        run[0].append(anchor)
        run[1].append(row)
        run[2].append(task)

    def fail(self, id):
        """Fails a tuple of the batch."""
        self._failed.append(id)

    def hold(self, id):
        """Holds a tuple of the batch: it is not acked by the answer."""
        self._held.append(id)

    def ack(self, id):
        """Acks a held tuple, or several."""
        self.send()
        self._link.send(["ack", id if isinstance(id, list) else [id]])

    def fail_held(self, id):
        """Fails a held tuple, or several."""
        self.send()
        self._link.send(["fail", id if isinstance(id, list) else [id]])

    def log(self, level, text):
        """Writes a line to the log: Trace, Debug, Info, Warn or Error."""
        self._link.send(["log", level, str(text)])

    def error(self, text, trace=""):
        """Says that something failed."""
        self._link.send(["error", str(text), trace])

    def exception(self, error):
        """Says that an exception was caught."""
        trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        self.error(f"{type(error).__name__}: {error}", trace)

    def metric(self, name, value):
        """Adds to a counter."""
        self._link.send(["metric", name, value])

    def alive(self):
        """Says that work is under way."""
        self._link.send(["alive"])

    def send(self):
        """Sends what was emitted so far without an answer. Its anchors must be held tuples."""
        emits = self._take()
        if emits:
            self._link.send(["emit", emits])

    def _take(self):
        runs, self._runs = self._runs, {}
        emits = []
        for output, run in runs.items():
            if run[1]:
                rows, fields = run[1], len(self.context.outputs[output].fields)
                if set(map(len, rows)) != {fields}:
                    run = self._without_wrong(output, run, fields)
                emits.append([output, *run])
        return emits

    def _without_wrong(self, output, run, fields):
        name = self.context.outputs[output].stream
        right = [index for index, row in enumerate(run[1]) if len(row) == fields]
        for index in set(range(len(run[1]))) - set(right):
            found = len(run[1][index])
            self.error(f"a tuple with {found} values was emitted to stream '{name}', which has {fields} fields")
            self._fail_anchor(run[0][index])
        return tuple([part[index] for index in right] for part in run)

    def _fail_anchor(self, anchor):
        if self.context.role == "Bolt" and anchor is not None:
            self._failed.extend(anchor if isinstance(anchor, (list, tuple)) else [anchor])

    def _encodable(self, emits):
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

    def _answer(self, first, *behind):
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

    def __init__(self, reads, writes):
        self.reader = os.fdopen(reads, "rb", buffering=1 << 20)
        self.writes = writes
        self.encoding = _Json()

    def read(self):
        """The next message as bytes; None at the end."""
        head = self.reader.read(4)
        if len(head) < 4:
            return None
        length = int.from_bytes(head, "little")
        data = self.reader.read(length)
        return data if len(data) == length else None

    def write(self, data):
        if len(data) > MAX_MESSAGE:
            raise ValueError(f"a message of {len(data)} bytes is too long; {MAX_MESSAGE} are the most")
        data = memoryview(len(data).to_bytes(4, "little") + data)
        while data:
            data = data[os.write(self.writes, data) :]

    def send(self, message):
        self.write(self.encoding.encode(message))


def serve(make, reads=3, writes=4):
    """Runs the component that `make(context)` returns until the worker ends it."""
    link = _Link(reads, writes)
    hello = json.loads(link.read() or b"{}")
    if hello.get("waterspout") != VERSION:
        raise SystemExit(f"this is version {VERSION} of the script protocol, and the worker said {hello!r:.200}")
    context = Context(hello)
    out = Out(context, link)
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
    try:
        loop(component, out, link)
    except (BrokenPipeError, KeyboardInterrupt):
        pass


def _bolt_loop(component, out, link):
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
            out._answer(("done", first), lambda: out._failed, lambda: out._held)
        else:
            _other(component, kind, message, out, link)


def _call(component, name, out, *arguments):
    method = getattr(component, name, None)
    if method is None:
        return None
    try:
        return method(*arguments)
    except Exception as error:
        out.exception(error)
        return None


def _other(component, kind, message, out, link):
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


def _spout_loop(component, out, link):
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

    __slots__ = ("stream", "values", "task", "anchors")

    def __init__(self, stream, values, task=None, anchors=()):
        self.stream = stream
        self.values = values
        self.task = task
        self.anchors = anchors


def emit(stream, *values, task=None, anchors=()):
    """A tuple for the named stream, to be yielded; `anchors` are ids of held tuples that it belongs to as well."""
    return Emit(stream, values, task, anchors)


class Tuple(tuple):
    """A tuple of an input: its fields by name, position and `[name]`."""

    __slots__ = ()
    _names = ()
    component = stream = ""

    def get(self, name, default=None):
        """A field by its name."""
        names = type(self)._names
        return self[names.index(name)] if name in names else default

    def asdict(self):
        """The fields by name."""
        return dict(zip(type(self)._names, self))


def tuple_class(stream):
    """The class of the tuples of one input."""
    members = {"__slots__": (), "_names": tuple(stream.fields), "component": stream.component, "stream": stream.stream}
    for index, name in enumerate(stream.fields):
        # A field wins over what tuples have of that name, such as `count`.
        if name.isidentifier():
            members[name] = property(_getter(index))
    return type("Tuple", (Tuple,), members)


def _getter(index):
    from operator import itemgetter

    return itemgetter(index)


class _PerTuple:
    """Calls `process(tup)` for each tuple of a batch, and takes what it yields or returns."""

    def __init__(self, component, context):
        self.component = component
        self.context = context
        self.process = getattr(component, "process", None)
        if self.process is None:
            raise TypeError("a script that is a bolt has a function process(tup)")
        self.classes = [tuple_class(stream) for stream in context.inputs]
        self.current = None
        self.out = None
        self.finishing = None
        for name in ("tick", "finish", "pause", "forget"):
            if not hasattr(component, name):
                setattr(self, name, None)

    def start(self, out):
        self.out = out
        if hasattr(self.component, "start"):
            self.component.start(out)

    def batch(self, input, source, first, rows, out):
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

    def special(self, id, values, out):
        """What is yielded and is no plain tuple for the first stream."""
        anchor = id
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

    def each(self, result, out):
        """What a function without a tuple at hand yields or returns."""
        if result is None:
            return
        for values in [result] if isinstance(result, tuple) else result:
            self.special(None, values, out)

    def tick(self, out):
        self.each(self.component.tick(), out)

    def pause(self, out):
        self.each(self.component.pause(), out)

    def forget(self):
        self.component.forget()

    def finish(self, out):
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

    def snapshot(self):
        if hasattr(self.component, "snapshot"):
            return self.component.snapshot()
        return [[list(key) if isinstance(key, tuple) else [key], value] for key, value in self.state().items()]

    def restore(self, parts):
        if hasattr(self.component, "restore"):
            return self.component.restore(parts)
        for key, value in parts:
            self.state()[key[0] if len(key) == 1 else tuple(key)] = value

    def state(self):
        return getattr(self.component, "state", {})


class _Generated:
    """Emits what the generator `spout()` yields, and again what failed. `spout(position)` is told how many of its tuples are
    done, so that it can go on behind them."""

    def __init__(self, component, context):
        spout = getattr(component, "spout", None)
        if spout is None:
            raise TypeError("a script that is a spout has a function spout()")
        self.spout = spout
        self.context = context
        self.has_position = len(inspect.signature(spout).parameters) > 0
        self.generator = None
        self.base = 0
        self.next_id = 0
        self.pending = {}
        self.again = []
        self.done = set()
        self.ended = False

    def resume(self, position):
        if self.has_position:
            self.base = self.next_id = position

    def position(self):
        return self.base if self.has_position else None

    def poll(self, room, out):
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

    def settle(self, acked, failed):
        for id in acked:
            if self.pending.pop(id, None) is not None:
                self.done.add(id)
        while self.base in self.done:
            self.done.discard(self.base)
            self.base += 1
        self.again.extend(id for id in failed if id in self.pending)


class _Script:
    """A script's functions as methods."""

    def __init__(self, namespace):
        self.namespace = namespace

    def __getattr__(self, name):
        try:
            return self.namespace[name]
        except KeyError:
            raise AttributeError(name) from None


def load(context):
    """The component of the script that the context names."""
    path = context.script
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    module = types.ModuleType("__script__")
    module.__file__ = path
    sys.modules["__script__"] = module
    script = _Script(module.__dict__)
    wrapper = None

    def outlet():
        return wrapper.out

    def hold():
        """Holds the tuple at hand and returns its id."""
        outlet().hold(wrapper.current)
        return wrapper.current

    def ack(id):
        """Acks a held tuple."""
        outlet().ack(id)

    def fail(id=None):
        """Fails a held tuple, or the tuple at hand."""
        if id is None:
            outlet().fail(wrapper.current)
        else:
            outlet().fail_held(id)

    def log(text, level="Info"):
        """Writes a line to the worker's log."""
        outlet().log(level, text)

    module.__dict__.update(
        context=context, state={}, emit=emit, hold=hold, ack=ack, fail=fail, log=log, Timestamp=Timestamp
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

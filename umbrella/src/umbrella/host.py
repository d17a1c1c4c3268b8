"""A component's process: calls the component for what the worker asks.

Owns: the order of calls, exceptions of user code, what a spout has emitted and not heard of. Leaves to others: the
protocol (`_script`), what user code may call (`runtime`). Invariant: an exception of a bolt fails the tuple that it
worked on and no other.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import repeat
from types import GeneratorType
from typing import Any

from . import load, requirements, state
from .components import Bolt, Component, Spout, keyed_states
from .errors import EmitError, Fail, UmbrellaError
from .inputs import input_class
from .places import Place
from .runtime import Runtime, Source, current_of_coroutine

#: How many tuples a `finish` emits before the worker is answered.
_FINISH_STEP = 1000
#: How long a spout goes on emitting before the worker is answered, in seconds.
_POLL_TIME = 0.002
#: How long a spout rests that has nothing, in milliseconds.
_REST = 10


def entry(root: str, module: str, topology: str) -> Callable[[Any], Any]:
    """Makes the components of a topology: what a script of a manifest calls `make`."""

    def make(context: Any) -> Any:
        cls = load.topology_of(load.import_module(root, module), topology)
        requirements.check(list(cls._requirements))
        component = cls._components.get(context.component)
        if component is None:
            raise UmbrellaError(f"topology '{topology}' has no component '{context.component}'")
        return host(component, context)

    return make


def host(component: Component, context: Any) -> BoltHost | SpoutHost:
    """Sets a component up."""
    runtime = Runtime(component, context)
    component._runtime = runtime
    for name, stream in type(component)._streams.items():
        # Found without asking the class, which it is in each emit.
        component.__dict__[name] = stream
    if isinstance(component, Spout):
        return SpoutHost(component, runtime)
    assert isinstance(component, Bolt)
    return BoltHost(component, runtime)


class _WorkerLog(logging.Handler):
    """Hands what is logged to the worker, with its level. Threads other than the first write to standard error."""

    def __init__(self, out: Any) -> None:
        super().__init__()
        self.out = out

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
            if threading.current_thread() is threading.main_thread():
                self.out.log(_level(record.levelno), text)
            else:
                print(text, file=sys.stderr)
        except Exception:
            self.handleError(record)


def _level(number: int) -> str:
    names = {logging.ERROR: "Error", logging.WARNING: "Warn", logging.INFO: "Info", logging.DEBUG: "Debug"}
    return next((name for level, name in names.items() if number >= level), "Trace")


def _begin(component: Component, runtime: Runtime, out: Any) -> None:
    """Lets user code begin."""
    runtime.out = out
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(_WorkerLog(out))
        root.setLevel(logging.INFO)
    component.setup()


class _Loop:
    """An event loop that is there once it is needed."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, awaitable: Any) -> Any:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
        return self._loop.run_until_complete(awaitable)


class BoltHost:
    """A bolt at work."""

    def __init__(self, bolt: Bolt, runtime: Runtime) -> None:
        self.bolt = bolt
        self.runtime = runtime
        self.states = {name: kept.fresh() for name, kept in keyed_states(bolt).items()}
        bolt.__dict__.update(self.states)
        self.inputs = [input_class(tuple(each.fields)) for each in runtime.context.inputs]
        self.finishing: Iterator[Any] | None = None
        self.loop = _Loop()
        function = bolt.process
        runtime.is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)

    def start(self, out: Any) -> None:
        """The process is about to be ready."""
        _begin(self.bolt, self.runtime, out)

    def batch(self, input: int, source: int, first: int, rows: list[Any], out: Any) -> None:
        """Works on the tuples of a batch."""
        runtime = self.runtime
        runtime.out = out
        shape = runtime.context.inputs[input]
        runtime.source = Source(shape.component, shape.stream, source)
        if runtime.is_async:
            self.loop.run(self._together(self.inputs[input], first, rows, out))
        else:
            self._one_by_one(self.inputs[input], first, rows, out)
        for id in runtime.held_now:
            out.hold(id)
        runtime.held_now.clear()
        runtime.flush()

    def _one_by_one(self, shape: Any, first: int, rows: list[Any], out: Any) -> None:
        runtime = self.runtime
        process = self.bolt.process
        width = -1
        anchors: list[Any] = []
        sent: list[Any] = []
        if runtime.default is not None and runtime.default_output not in runtime.direct:
            width = len(runtime.default.names)
            anchors, sent = out.lists(runtime.default_output)
        id = first
        for tup in map(tuple.__new__, repeat(shape), rows):
            runtime.current = id
            result = None
            try:
                result = process(tup)
                if result is not None:
                    if type(result) is GeneratorType or hasattr(result, "__next__"):
                        for value in result:
                            if type(value) is tuple and len(value) == width:
                                anchors.append(id)
                                sent.append(value)
                            elif value is not None:
                                runtime.value(value, id)
                    else:
                        runtime.value(result, id)
            except Exception as error:
                while anchors and anchors[-1] == id:
                    anchors.pop()
                    sent.pop()
                self._failed(id, error, result)
            id += 1
        runtime.current = None

    async def _together(self, shape: Any, first: int, rows: list[Any], out: Any) -> None:
        """Coroutines of a batch run side by side."""
        waiting = {asyncio.ensure_future(self._one(shape(row), id)) for id, row in enumerate(rows, first)}
        while waiting:
            done, waiting = await asyncio.wait(waiting, timeout=1.0)
            if not done:
                out.alive()

    async def _one(self, tup: Any, id: int) -> None:
        current_of_coroutine.set(id)
        runtime = self.runtime
        result = None
        try:
            result = self.bolt.process(tup)
            if hasattr(result, "__anext__"):
                async for value in result:
                    if value is not None:
                        runtime.value(value, id)
            else:
                value = await result
                if value is not None:
                    runtime.value(value, id)
        except Exception as error:
            self._failed(id, error, result)

    def _failed(self, id: int, error: Exception, result: Any) -> None:
        if isinstance(error, EmitError):
            error.place = _place_of_yield(result) or error.place
        self.runtime.held_now.discard(id)
        self.runtime.out.fail(id)
        if not isinstance(error, Fail):
            self.runtime.out.exception(error)

    def _call(self, function: Callable[[], Any], out: Any) -> Iterator[Any]:
        """Calls a method that works on no tuple; what it emits."""
        self.runtime.out = out
        self.runtime.current = None
        result = self.loop.run(function()) if inspect.iscoroutinefunction(function) else function()
        if result is None:
            return iter(())
        return result if hasattr(result, "__next__") else iter([result])

    def tick(self, out: Any) -> None:
        """It is time for `tick`."""
        self._emit_all(self._call(self.bolt.tick, out))

    def _emit_all(self, values: Iterator[Any]) -> None:
        for value in values:
            if value is not None:
                self.runtime.value(value, None)
        self.runtime.flush()

    def finish(self, out: Any) -> bool:
        """All input has ended; whether there is more to emit."""
        self.runtime.out = out
        if self.finishing is None:
            self.finishing = self._call(self.bolt.finish, out)
        for _ in range(_FINISH_STEP):
            try:
                value = next(self.finishing)
            except StopIteration:
                self.finishing = None
                self.runtime.flush()
                return False
            if value is not None:
                self.runtime.value(value, None)
        return True

    def pause(self, out: Any) -> None:
        """What is held must be let go of."""
        self._emit_all(self._call(self.bolt.pause, out))

    def forget(self) -> None:
        """What was held failed."""
        self.bolt.forget()

    def snapshot(self) -> list[list[Any]]:
        """What is kept, in parts."""
        return state.snapshot(self.states)

    def restore(self, parts: list[list[Any]]) -> None:
        """Goes on from parts that were kept."""
        state.restore(self.states, parts)


def _place_of_yield(generator: Any) -> Place | None:
    """The line at which a generator has yielded what cannot be emitted."""
    frame = getattr(generator, "gi_frame", None) or getattr(generator, "ag_frame", None)
    return None if frame is None else Place(frame.f_code.co_filename, frame.f_lineno)


class SpoutHost:
    """A spout at work. Its message ids are numbers of its own, which stand for the ids of the user."""

    def __init__(self, spout: Spout, runtime: Runtime) -> None:
        self.spout = spout
        self.runtime = runtime
        self.loop = _Loop()
        self.generates = type(spout).generate is not Spout.generate
        self.keeps = self.generates or type(spout).fail is Spout.fail
        self.is_repeatable = self.generates and spout.repeatable
        self.generator: Any = None
        self.is_done = False
        #: By message id: the user's id, and what to emit again if it fails.
        self.pending: dict[int, tuple[Any, tuple[int, Any, Any, int | None] | None]] = {}
        self.again: deque[int] = deque()
        self.next_id = 0
        #: All message ids below this one are settled for good.
        self.lowest = 0
        #: How many tuples earlier processes emitted that need not be emitted again.
        self.skipped = 0
        if self.is_repeatable:
            self.position = self._count
            self.resume = self._skip
        elif type(spout).position is not Spout.position:
            self.position = spout.position
            self.resume = spout.resume

    def start(self, out: Any) -> None:
        """The process is about to be ready."""
        _begin(self.spout, self.runtime, out)

    def poll(self, room: int, out: Any) -> int | None:
        """Emits up to `room` tuples; when to be asked again."""
        try:
            return self._poll(room, out)
        except Exception as error:
            # A spout that cannot go on begins anew.
            out.exception(error)
            raise SystemExit(1) from None

    def _poll(self, room: int, out: Any) -> int | None:
        runtime = self.runtime
        runtime.out = out
        while self.again and room > 0:
            id = self.again.popleft()
            kept = self.pending[id][1]
            if kept is not None:
                self._send(id, kept)
                room -= 1
        until = time.monotonic() + _POLL_TIME
        rest: int | None = None
        while room > 0:
            if runtime.roots:
                self._emit(runtime.roots.popleft())
                room -= 1
                continue
            if self.is_done:
                return -1
            if rest is not None or time.monotonic() > until:
                return rest
            rest = self._more()
        return None

    def _more(self) -> int | None:
        """Lets the spout emit; how long it wants to rest afterwards."""
        runtime = self.runtime
        if not self.generates:
            wanted = self.spout.next()
            if wanted == Spout.DONE:
                self.is_done = True
                return None
            if wanted is None:
                return None if runtime.roots else _REST
            return max(int(wanted * 1000), 0)
        if self.generator is None:
            self.generator = self.spout.generate()
            for _ in range(self.skipped):
                self._pull()
        value = self._pull()
        if self.is_done:
            return None
        if value is None:
            return _REST
        output, row = runtime.row_of(value)
        runtime.roots.append((output, self.next_id, row, None))
        return None

    def _pull(self) -> Any:
        try:
            if hasattr(self.generator, "__anext__"):
                return self.loop.run(self.generator.__anext__())
            return next(self.generator)
        except (StopIteration, StopAsyncIteration):
            self.is_done = True
            return None

    def _emit(self, root: tuple[int, Any, Any, int | None]) -> None:
        if root[1] is None:
            self.runtime.send(root[0], None, root[2], root[3])
            return
        id = self.next_id
        self.next_id += 1
        self.pending[id] = (root[1], root if self.keeps else None)
        self._send(id, root)

    def _send(self, id: int, root: tuple[int, Any, Any, int | None]) -> None:
        self.runtime.send(root[0], id, root[2], root[3])

    def settle(self, acked: list[int], failed: list[int]) -> None:
        """Trees are done, or failed."""
        for id in acked:
            user_id, _ = self.pending.pop(id)
            if not self.generates:
                self.spout.ack(user_id)
        for id in failed:
            if self.keeps:
                self.again.append(id)
            else:
                self.spout.fail(self.pending.pop(id)[0])

    def _count(self) -> int:
        while self.lowest < self.next_id and self.lowest not in self.pending:
            self.lowest += 1
        return self.skipped + self.lowest

    def _skip(self, position: int) -> None:
        self.skipped = position


def main() -> None:
    """`python -m umbrella.host FOLDER MODULE TOPOLOGY`: the process of a task."""
    from . import _script

    root, module, topology = sys.argv[1:4]
    _script.serve(entry(root, module, topology))


if __name__ == "__main__":
    main()

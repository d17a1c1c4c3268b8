"""A component at work in its process: what its `emit`, `hold` and so on come to.

Owns: which tuple is being worked on, and turning what is emitted into rows. Leaves to others: when the component is
called (`host`), the protocol (`_script`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import EmitError
from .names import listed
from .places import caller
from .streams import Stream, StreamMeta, StreamOf, fill

if TYPE_CHECKING:
    from .components import Component
    from .inputs import Input

#: The tuple that a coroutine works on.
current_of_coroutine: ContextVar[int | None] = ContextVar("current_of_coroutine", default=None)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a tuple is from."""

    component: str
    stream: str
    #: The number of the task in the topology, which a direct stream can be emitted to.
    task: int


class Held:
    """A tuple that is not acknowledged before `ack` or `fail` is called, once. Its time-out is renewed until then."""

    __slots__ = ("_runtime", "id", "input")

    def __init__(self, runtime: Runtime, id: int, input: Input) -> None:
        self._runtime: Runtime | None = runtime
        self.id = id
        #: The tuple itself.
        self.input = input

    def ack(self) -> None:
        """The tuple is worked on."""
        self._take().settle_held(self.id, acked=True)

    def fail(self) -> None:
        """The tuple is not worked on; its spout emits it again."""
        self._take().settle_held(self.id, acked=False)

    def _take(self) -> Runtime:
        runtime, self._runtime = self._runtime, None
        if runtime is None:
            raise EmitError("a held tuple is acknowledged or failed once only", caller())
        return runtime


class Runtime:
    """What a component's calls come to."""

    def __init__(self, component: Component, context: Any) -> None:
        self.component = component
        self.context = context
        streams = component.streams()
        self.outputs: dict[str, int] = {
            output.stream: number for number, output in enumerate(context.outputs) if output.stream in streams
        }
        self.default: StreamMeta | None = streams.get("default")
        self.default_output = self.outputs.get("default", -1)
        self.source = Source("", "", -1)
        self.out: Any = None
        #: The tuple that is worked on, outside of coroutines.
        self.current: int | None = None
        self.is_async = False
        #: What this batch holds; what is settled before the batch is answered was never held.
        self.held_now: set[int] = set()
        #: Held tuples that were let go of since the worker was last answered.
        self.let_go: tuple[list[int], list[int]] = ([], [])
        #: What a spout has emitted that is not sent yet: output, user's id, row, task.
        self.roots: deque[tuple[int, Any, Any, int | None]] = deque()
        #: Its direct streams.
        self.direct = {number for number, output in enumerate(context.outputs) if output.direct}

    def metric(self, name: str, value: float) -> None:
        """Adds to a counter."""
        self.out.metric(name, value)

    def current_id(self) -> int | None:
        """The tuple that is worked on."""
        return current_of_coroutine.get() if self.is_async else self.current

    def value(self, value: Any, anchor: Any) -> None:
        """Emits what was yielded or returned."""
        output, row = self.row_of(value)
        self.send(output, anchor, row, None)

    def row_of(self, value: Any) -> tuple[int, tuple[Any, ...]]:
        """The output and the row that a yielded value means."""
        if isinstance(value, Stream):
            return self.output_of(type(value)), value.values
        row = value if isinstance(value, tuple) else (value,)
        if self.default is None:
            raise EmitError(
                f"'{self.component.name}' emits to the stream 'default', which it does not have; it has "
                f"{listed(self.outputs)}",
                caller(),
            )
        if len(row) != len(self.default.names):
            row = fill(self.default, row, {})
        return self.default_output, row

    def output_of(self, stream: object) -> int:
        """The number of a stream."""
        if isinstance(stream, StreamOf):
            stream = stream.cls
        number = self.outputs.get(stream.stream) if isinstance(stream, StreamMeta) else None
        if number is None:
            raise EmitError(
                f"'{self.component.name}' emits to {stream!r}, which is not one of its streams: {listed(self.outputs)}",
                caller(),
            )
        return number

    def _parse(self, values: tuple[Any, ...], named: dict[str, Any], stream: object) -> tuple[int, tuple[Any, ...]]:
        if stream is None:
            if len(values) == 1 and not named and isinstance(values[0], Stream):
                return self.row_of(values[0])
            if self.default is None or not named:
                return self.row_of(values)
            return self.default_output, fill(self.default, values, named)
        cls = stream.cls if isinstance(stream, StreamOf) else stream
        number = self.output_of(cls)
        assert isinstance(cls, StreamMeta)
        return number, values if len(values) == len(cls.names) and not named else fill(cls, values, named)

    def send(self, output: int, anchor: Any, row: tuple[Any, ...], task: int | None) -> None:
        """Emits a row."""
        if (output in self.direct) != (task is not None):
            stream = self.context.outputs[output].stream
            wants = "is direct: say which `task`" if task is None else "is not direct, so it takes no `task`"
            raise EmitError(f"stream '{stream}' {wants}", caller())
        if task is None:
            self.out.emit(output, anchor, row)
        else:
            self.out.emit_direct(output, anchor, row, task)

    # Of bolts.

    def emit(
        self,
        values: tuple[Any, ...],
        named: dict[str, Any],
        stream: object,
        anchors: Held | Iterable[Held] | None,
        task: int | None,
    ) -> None:
        """See `Bolt.emit`."""
        output, row = self._parse(values, named, stream)
        anchor: Any
        if anchors is None:
            anchor = self.current_id()
        elif isinstance(anchors, Held):
            anchor = anchors.id
        else:
            anchor = [held.id for held in anchors]
        self.send(output, anchor, row, task)

    def hold(self, input: Input) -> Held:
        """See `Bolt.hold`."""
        id = self.current_id()
        if id is None:
            raise EmitError("no tuple is being worked on, so there is none to hold", caller())
        self.held_now.add(id)
        return Held(self, id, input)

    def settle_held(self, id: int, *, acked: bool) -> None:
        """A held tuple is done, or failed."""
        if id in self.held_now:
            self.held_now.discard(id)
            if not acked:
                self.out.fail(id)
        else:
            self.let_go[0 if acked else 1].append(id)

    def flush(self) -> None:
        """Tells the worker what was held and let go of, behind all that was emitted."""
        acked, failed = self.let_go
        if acked or failed:
            self.let_go = ([], [])
            if acked:
                self.out.ack(acked)
            if failed:
                self.out.fail_held(failed)

    # Of spouts.

    def emit_root(
        self, values: tuple[Any, ...], named: dict[str, Any], stream: object, id: Any, task: int | None
    ) -> None:
        """See `Spout.emit`."""
        output, row = self._parse(values, named, stream)
        self.roots.append((output, id, row, task))

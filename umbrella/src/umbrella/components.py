"""Spouts and bolts: the classes that a user's components derive from.

Owns: what a component declares and the calls that its code may make. Leaves to others: checks of the code
(`analysis`), the graph (`topology`), running (`host`). Invariant: what can be wrong with one component alone is said
when its class is defined or when it is called in a topology.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from . import analysis
from .errors import DeclarationError, MissingStreamError
from .groupings import Inputs, Origins
from .names import check_name, kebab, listed
from .places import Place, caller
from .state import KeyedState
from .streams import Stream, StreamMeta, StreamOf

if TYPE_CHECKING:
    from .inputs import Input
    from .runtime import Held, Runtime, Source
    from .topology import Topology

_MOST_TASKS = 1024


@dataclass(frozen=True)
class Limits:
    """What a component's process may take; what is absent is as Waterspout has it by default."""

    #: How large it may grow, as `"512Mi"`.
    memory: str | None = None
    #: How long it may take until it is ready, as `"60s"`.
    start_timeout: str | None = None
    #: How long it may work on a batch, as `"30s"`.
    answer_timeout: str | None = None
    #: How often it may die in a row before the worker gives up.
    restarts: int | None = None

    def manifest(self) -> dict[str, Any]:
        """What the manifest says of them."""
        settings = {
            "memory": self.memory,
            "startTimeout": self.start_timeout,
            "answerTimeout": self.answer_timeout,
            "restarts": self.restarts,
        }
        given = {name: value for name, value in settings.items() if value is not None}
        return {"limits": given} if given else {}


class Component:
    """A spout or a bolt. In a topology, calling the class declares one: `parser = LogParser(3)` has three tasks."""

    #: What its process may take.
    limits: ClassVar[Limits] = Limits()

    _streams: ClassVar[dict[str, StreamMeta]] = {}
    _class_place: ClassVar[Place] = Place("?", 0)
    _is_abstract: ClassVar[bool] = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._class_place = caller()
        streams: dict[str, StreamMeta] = {}
        for base in reversed(cls.__mro__):
            for name, value in vars(base).items():
                if isinstance(value, StreamMeta) and value is not Stream:
                    streams[name] = value
        by_name: dict[str, str] = {}
        for name, stream in streams.items():
            if stream.stream in by_name:
                raise DeclarationError(
                    f"'{cls.__name__}' has two streams '{stream.stream}': '{by_name[stream.stream]}' and '{name}'",
                    stream.place,
                )
            by_name[stream.stream] = name
        cls._streams = streams

    def __init__(self, tasks: int = 1, *, name: str | None = None) -> None:
        self._place = caller()
        self._topology: type[Topology] | None = None
        self._name = None if name is None else check_name(name, "component", self._place)
        self._runtime: Runtime | None = None
        if isinstance(tasks, bool) or not isinstance(tasks, int) or not 1 <= tasks <= _MOST_TASKS:
            raise DeclarationError(
                f"{type(self).__name__} has {tasks!r} tasks; it takes a number from 1 to {_MOST_TASKS}", self._place
            )
        self.tasks = tasks
        if type(self)._is_abstract:
            raise DeclarationError(
                f"'{type(self).__name__}' cannot be in a topology itself; write a class of your own that derives "
                "from it",
                self._place,
            )

    def __set_name__(self, owner: type, name: str) -> None:
        if self._name is None:
            self._name = kebab(name)

    @property
    def name(self) -> str:
        """Its name in the manifest: that of the topology's attribute, or what `name` said."""
        return self._name or type(self).__name__

    def streams(self) -> dict[str, StreamMeta]:
        """Its streams, by their names in the manifest."""
        return {stream.stream: stream for stream in type(self)._streams.values()}

    def manifest(self) -> dict[str, Any]:
        """What the manifest says of it beside its name, tasks, inputs and streams; empty if its code is in Python."""
        return {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} '{self.name}'>"

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            # A class that is not there: a stream, as these are named.
            if name[:1].isupper():
                declared = listed(type(self)._streams) if type(self)._streams else "no streams"
                raise MissingStreamError(f"'{type(self).__name__}' has no stream '{name}'; it has {declared}", caller())
            raise AttributeError(f"'{type(self).__name__}' has no attribute '{name}'", name=name, obj=self)

    # What follows is for a component at work.

    @property
    def log(self) -> logging.Logger:
        """Where to log; what is logged with `logging` anywhere appears in the worker's log."""
        return logging.getLogger(self.name)

    @property
    def context(self) -> Any:
        """Which task this is: `topology`, `component`, `task`, `index`, `tasks`, `inputs`, `outputs`."""
        return self._at_work().context

    def metric(self, name: str, value: float = 1) -> None:
        """Adds to a counter of the worker's metrics."""
        self._at_work().metric(name, value)

    def setup(self) -> None:
        """Called once in each task's process before anything else: open what is needed here."""

    def _at_work(self) -> Runtime:
        if self._runtime is None:
            raise DeclarationError(
                f"{self!r} is declared here and not at work; this belongs into its methods", caller()
            )
        return self._runtime


class Bolt(Component):
    """Takes tuples, and emits none, one or several for each::

        class Split(Bolt):
            class Default(Stream):
                fields = "word"

            def process(self, input):
                for word in input.line.split():
                    yield word

    What is yielded is a tuple of values, a row of a stream (`self.Rejected(...)`), or the one value of a stream with
    one field. What is returned is one of these, too; `None` is nothing. `process` may be `async`. A tuple is
    acknowledged when `process` is done with it, and fails if that raises; what was emitted belongs to it.
    """

    #: How often `tick` is called, as `"1s"`; never if absent.
    tick_every: ClassVar[str | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._is_abstract = cls.process is Bolt.process and cls.manifest is Component.manifest
        if not cls._is_abstract:
            analysis.check_bolt(cls)
        if cls.tick is not Bolt.tick and cls.tick_every is None:
            raise DeclarationError(
                f"'{cls.__name__}' has a `tick` that is never called; say how often: `tick_every = \"1s\"`",
                analysis.place_of(cls.tick, cls._class_place),
            )

    def __init__(
        self,
        tasks: int = 1,
        *,
        inputs: Origins = (),
        name: str | None = None,
    ) -> None:
        super().__init__(tasks, name=name)
        #: What it reads: groupings, or components and streams, which are shuffled.
        self.inputs = Inputs()
        self.inputs.extend(inputs if isinstance(inputs, Sequence) else [inputs])

    def process(self, input: Input) -> Any:
        """Works on one tuple, whose fields are the attributes of `input`."""
        raise NotImplementedError

    def tick(self) -> Any:
        """Called every `tick_every`. What it emits belongs to no tuple."""

    def finish(self) -> Any:
        """Called when all input has ended, to emit what is left."""

    def pause(self) -> Any:
        """Called before the topology pauses or the task moves: acknowledge or fail what is held."""

    def forget(self) -> None:
        """Called when all that was held has failed and will come again: drop what was kept for it."""

    @property
    def source(self) -> Source:
        """Where the current tuple is from: `source.component`, `source.stream`, `source.task`."""
        return self._at_work().source

    def emit(
        self,
        *values: Any,
        stream: type | StreamOf | None = None,
        anchors: Held | Iterable[Held] | None = None,
        task: int | None = None,
        **named: Any,
    ) -> None:
        """Emits a tuple: its values, in order or by name, or one row of a stream.

        It belongs to the current tuple, or to the held ones in `anchors`. `task` is the one that it goes to, if the
        stream is direct.
        """
        self._at_work().emit(values, named, stream, anchors, task)

    def hold(self, input: Input) -> Held:
        """Keeps the current tuple from being acknowledged until `ack` or `fail` of what this returns is called."""
        return self._at_work().hold(input)


class Spout(Component):
    """Brings tuples in from outside. Either a generator, `generate`::

        class Numbers(Spout):
            class Default(Stream):
                fields = "number"

            def generate(self):
                yield from range(10)

    What it yields is emitted, and kept until it is acknowledged: a tuple that fails is emitted again. `None` means
    that there is nothing now; a generator that ends is a spout that is complete. It may be `async`.

    Or `next`, which is called whenever there is room and emits with ids of its own: `self.emit(line, id=n)`. It returns
    the seconds until it wants to be called again, `None` for at once, or `Spout.DONE`. `ack(id)` and `fail(id)` are
    called once for each; as long as `fail` is not overridden, what failed is emitted again as it was.
    """

    class DeadLetters(Stream):
        """What was given up after too many attempts; each spout has this stream, and nobody needs to read it."""

        fields = "stream tuple reason attempts"
        optional = True

    #: What `next` returns when nothing more will ever come.
    DONE: ClassVar[float] = float("-inf")
    #: Whether `generate` yields the same tuples whenever it is started: then a process that died goes on where it
    #: was, and else it begins anew.
    repeatable: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        has_next = cls.next is not Spout.next
        has_generate = cls.generate is not Spout.generate
        cls._is_abstract = not has_next and not has_generate and cls.manifest is Component.manifest
        if has_next and has_generate:
            raise DeclarationError(
                f"'{cls.__name__}' has `next` and `generate`; it takes one of them", cls._class_place
            )
        if not cls._is_abstract:
            analysis.check_spout(cls)

    def generate(self) -> Iterator[Any] | AsyncIterator[Any]:
        """Yields what is emitted."""
        raise NotImplementedError

    def next(self) -> float | None:
        """Emits what there is now."""
        raise NotImplementedError

    def ack(self, id: Any) -> None:
        """The tree of the tuple with this id is done."""

    def fail(self, id: Any) -> None:
        """The tree of the tuple with this id failed."""

    def position(self) -> Any:
        """Where the next process would go on, once all that was emitted before is acknowledged; `None` if nowhere."""
        return None

    def resume(self, position: Any) -> None:
        """Called after `setup` if an earlier process left a position."""

    def emit(
        self,
        *values: Any,
        id: Any = None,
        stream: type | StreamOf | None = None,
        task: int | None = None,
        **named: Any,
    ) -> None:
        """Emits a tuple: its values, in order or by name, or one row of a stream. Without an `id` it is not tracked."""
        self._at_work().emit_root(values, named, stream, id, task)


def keyed_states(component: Component) -> dict[str, KeyedState[Any]]:
    """The states that a component's class declares, by attribute."""
    found: dict[str, KeyedState[Any]] = {}
    for base in reversed(type(component).__mro__):
        found.update({name: value for name, value in vars(base).items() if isinstance(value, KeyedState)})
    return found


def stream_named(component: Component, name: str, place: Place) -> StreamMeta:
    """The stream of a component with this name."""
    streams = component.streams()
    if name not in streams:
        raise DeclarationError(f"'{component.name}' has no stream '{name}'; it has {listed(streams)}", place)
    return streams[name]

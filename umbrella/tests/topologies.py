"""Topologies that tests run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

from umbrella import (
    Bolt,
    DirectGrouping,
    Fail,
    FieldsGrouping,
    GeneratorSpout,
    GlobalGrouping,
    Held,
    Input,
    KeyedState,
    RedisSpout,
    ShuffleGrouping,
    Spout,
    StdoutBolt,
    Stream,
    Topology,
    bolt,
    spout,
)


@bolt("word")
def split(input: Input) -> Iterator[str]:
    """Words of a line."""
    yield from input.line.split()


class Count(Bolt):
    """Counts words; the totals come at the end."""

    class Default(Stream):
        fields = "word count"

    class Totals(Stream):
        fields = ("word", "count")

    tick_every = "10s"
    counts = KeyedState(int)

    def process(self, input: Input) -> tuple[str, int]:
        self.counts[input.word] += 1
        return input.word, self.counts[input.word]

    def tick(self) -> None:
        self.emit("(tick)", len(self.counts))

    def finish(self) -> Iterator[Stream]:
        for word, count in sorted(self.counts.items()):
            yield self.Totals(count=count, word=word)


def two(fields: str) -> RedisSpout:
    """A spout with several fields, which the tests feed."""
    return RedisSpout(address="127.0.0.1:1", stream="none", group="none", fields=fields)


class WordCount(Topology):
    """The classic."""

    lines = GeneratorSpout(text="a b a", count=3, fields="line")
    words = split(2, inputs=lines)
    counts = Count(2, inputs=FieldsGrouping(words, "word"))
    out = StdoutBolt(inputs=GlobalGrouping(counts))
    totals = StdoutBolt(inputs=GlobalGrouping(counts.Totals))


class Picky(Bolt):
    """Fails, raises, emits to several streams."""

    class Default(Stream):
        fields = "value"

    class Odd(Stream):
        fields = "value why"

    def process(self, input: Input) -> Any:
        value = input["value"]
        if value == "fail":
            raise Fail("on purpose")
        if value == "raise":
            yield "before"
            raise ValueError("a bug")
        if value == "wide":
            yield (1, 2, 3)[: input.width]
        if isinstance(value, int) and value % 2:
            self.emit(value, why=f"from {self.source.component}", stream=self.Odd)
        else:
            yield [value, self.source.stream]


class Streams(Topology):
    """What a bolt may do with its tuples."""

    values = two("value width")
    picky = Picky(inputs=values)
    out = StdoutBolt(inputs=[picky, picky.Odd])


class Join(Bolt):
    """Holds the left ones until the right one comes."""

    class Default(Stream):
        fields = "left right"

    held: list[Held]

    def setup(self) -> None:
        self.held = []

    def process(self, input: Input) -> None:
        if input.side == "left":
            self.held.append(self.hold(input))
            return
        for held in self.held:
            self.emit(held.input.value, input.value, anchors=[held])
            if input.value == "bad":
                held.fail()
            else:
                held.ack()
        self.held = []

    def forget(self) -> None:
        self.held = []


class Joined(Topology):
    """Held tuples."""

    sides = two("side value")
    join = Join(inputs=GlobalGrouping(sides))
    out = StdoutBolt(inputs=join)


@bolt("name length")
async def measure(input: Input) -> tuple[str, int]:
    """Waits for something outside."""
    await asyncio.sleep(0.01)
    if input.name == "":
        raise Fail
    return input.name, len(input.name)


@bolt("letter")
async def letters(input: Input) -> AsyncIterator[str]:
    """An asynchronous generator."""
    for letter in input.name:
        await asyncio.sleep(0)
        yield letter


class Asynchronous(Topology):
    """Coroutines as bolts."""

    names = GeneratorSpout(fields="name")
    measured = measure(inputs=names)
    spelt = letters(inputs=measured)
    out = StdoutBolt(inputs=spelt)


class Router(Bolt):
    """Names the task that each tuple goes to."""

    class Default(Stream):
        fields = "number"
        direct = True

    def process(self, input: Input) -> None:
        tasks = self.context.outputs[0].readers["sink"]
        self.emit(input.number, task=tasks[input.number % len(tasks)])


class Direct(Topology):
    """A direct stream."""

    numbers = GeneratorSpout()
    router = Router(inputs=numbers)
    sink = StdoutBolt(3, inputs=DirectGrouping(router))


@bolt("url depth")
def links(input: Input) -> Iterator[tuple[str, int]]:
    """Two links on each page, down to depth 3."""
    if input.depth < 3:
        yield f"{input.url}/a", input.depth + 1
        yield f"{input.url}/b", input.depth + 1


class Cycle(Topology):
    """A bolt that reads what it emits."""

    seeds = two("url depth")
    follow = links(inputs=seeds)
    follow.inputs.append(ShuffleGrouping(follow))


@spout("number", repeatable=True)
def numbers() -> Iterator[int | None]:
    """A generator is a spout."""
    yield 0
    yield None
    yield from range(1, 5)


class Ticket(Spout):
    """Hears what became of its tuples."""

    class Default(Stream):
        fields = "ticket"

    class Heard(Stream):
        fields = "ticket what"

    def setup(self) -> None:
        self.left = ["one", "two"]
        self.heard: list[tuple[str, str]] = []

    def next(self) -> float | None:
        while self.heard:
            self.emit(*self.heard.pop(), stream=self.Heard)
        if not self.left:
            return 0.5
        ticket = self.left.pop()
        self.emit(ticket, id={"ticket": ticket})
        return None

    def ack(self, id: Any) -> None:
        self.heard.append((id["ticket"], "acked"))

    def fail(self, id: Any) -> None:
        self.heard.append((id["ticket"], "failed"))
        self.left.append(id["ticket"])


@spout("letter")
async def alphabet() -> AsyncIterator[str]:
    """An asynchronous generator is a spout, too."""
    for letter in "abc":
        await asyncio.sleep(0.001)
        yield letter


@bolt("value")
def same(input: Input) -> Any:
    """Emits what it reads."""
    return (input[0],)


class Spouts(Topology):
    """Spouts in Python."""

    counting = numbers()
    spelling = alphabet()
    tickets = Ticket()
    echo = same(inputs=[counting, spelling])
    work = same(inputs=tickets)
    out = StdoutBolt(inputs=[echo, work, tickets.Heard])


@spout("number")
def endless() -> Iterator[int | None]:
    """Has nothing now, and may have something later."""
    while True:
        yield None


class Endless(Topology):
    """A spout that never ends."""

    numbers = endless()
    out = StdoutBolt(inputs=numbers)

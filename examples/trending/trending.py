"""Trending words: how often each was seen in the last nine seconds, and every three seconds the five that lead.

`umbrella run trending.py` makes words up, by Zipf's law, until it is interrupted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from umbrella import (
    Bolt,
    FieldsGrouping,
    GeneratorSpout,
    GlobalGrouping,
    Input,
    KeyedState,
    StdoutBolt,
    Stream,
    Topology,
)
from umbrella import bolt as function_bolt

#: How many ticks a word is counted for.
SLOTS = 3
#: How many words lead.
LEADING = 5


@function_bolt("word")
def split(input: Input) -> Iterator[str]:
    """One tuple for each word of a sentence."""
    yield from input.sentence.split()


class RollingCount(Bolt):
    """Counts words in slots. At each tick the oldest slot is let go of, and all sums are emitted."""

    class Default(Stream):
        fields = "word count"

    tick_every = "3s"
    #: Of each word the counts of the slots, the newest last. A list, since state moves between workers as tuples do.
    slots = KeyedState[list[int]]()

    def process(self, input: Input) -> None:
        slots = self.slots.get(input.word)
        if slots is None:
            slots = self.slots[input.word] = [0] * SLOTS
        slots[-1] += 1

    def tick(self) -> Iterator[Stream]:
        for word, slots in list(self.slots.items()):
            total = sum(slots)
            # A word that nobody says any more is emitted once with zero, and forgotten.
            yield self.Default(word, total)
            if total == 0:
                del self.slots[word]
            else:
                self.slots[word] = [*slots[1:], 0]


class Leaders(Bolt):
    """Ranks what it is told, and at each tick emits those that lead."""

    class Default(Stream):
        fields = "ranking"

    tick_every = "3s"

    def setup(self) -> None:
        self.counts: dict[str, int] = {}
        self.last: deque[list[list[object]]] = deque(maxlen=1)

    def process(self, input: Input) -> None:
        if input.count:
            self.counts[input.word] = input.count
        else:
            self.counts.pop(input.word, None)

    def tick(self) -> Iterator[Stream]:
        leading = sorted(self.counts.items(), key=lambda each: (-each[1], each[0]))[:LEADING]
        ranking: list[list[object]] = [[word, count] for word, count in leading]
        if ranking and ranking not in self.last:
            self.last.append(ranking)
            yield self.Default(ranking)


class Trending(Topology):
    """Three tasks count, each the words that are its own; one ranks what they say."""

    sentences = GeneratorSpout(words=8, vocabulary=200, rate=500)
    words = split(2, inputs=sentences)
    counts = RollingCount(3, inputs=FieldsGrouping(words, "word"))
    leaders = Leaders(inputs=GlobalGrouping(counts))
    out = StdoutBolt(inputs=leaders)

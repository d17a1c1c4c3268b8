"""Word count in Python: `umbrella run word_count.py` counts the words of the files in `text/`."""

from __future__ import annotations

from collections.abc import Iterator

from umbrella import (
    Bolt,
    FieldsGrouping,
    FileSpout,
    GlobalGrouping,
    Input,
    KeyedState,
    StdoutBolt,
    Stream,
    Topology,
    bolt,
)


@bolt("word")
def split(input: Input) -> Iterator[str]:
    """One tuple for each word of a line."""
    yield from input.line.split()


class Count(Bolt):
    """Counts the words that come to it, and says so when the text has ended."""

    class Default(Stream):
        fields = "word count"

    counts = KeyedState(int)

    def process(self, input: Input) -> None:
        self.counts[input.word] += 1

    def finish(self) -> Iterator[tuple[str, int]]:
        yield from self.counts.items()


class WordCount(Topology):
    """Two tasks split, and two count, each the words that are its own."""

    lines = FileSpout(path="text/*")
    words = split(2, inputs=lines)
    counts = Count(2, inputs=FieldsGrouping(words, "word"))
    out = StdoutBolt(inputs=GlobalGrouping(counts))

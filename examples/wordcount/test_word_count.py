"""Word count in Python, against a count without any topology."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

from umbrella.testing import run
from word_count import WordCount

HERE = Path(__file__).parent


def test_words_are_counted_and_each_line_is_acked() -> None:
    with run(WordCount) as topology:
        first = topology.emit("lines", "to be or not")
        second = topology.emit("lines", "to be")
        assert topology.acked("lines") == [first, second]
        assert topology.values("counts") == []
        topology.end()
        assert sorted(topology.values("counts")) == [("be", 2), ("not", 1), ("or", 1), ("to", 2)]


def test_the_texts_give_the_counts_that_a_loop_gives() -> None:
    expected = Counter(word for path in (HERE / "text").iterdir() for word in path.read_text("utf-8").split())
    for flags in [], ["--workers", "2"]:
        command = [sys.executable, "-m", "umbrella", "run", str(HERE / "word_count.py"), "--", *flags]
        done = subprocess.run(command, capture_output=True, encoding="utf-8")
        assert done.returncode == 0, done.stderr
        lines = (line.split("\t") for line in done.stdout.splitlines())
        assert {word: int(count) for word, count in lines} == dict(expected)

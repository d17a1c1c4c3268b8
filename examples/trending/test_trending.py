"""Trending words, with the time under the test's control, and as they are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from trending import Trending
from umbrella.testing import Running, run

HERE = Path(__file__).parent


def ranking(topology: Running) -> list[list[object]]:
    """What the leaders said last."""
    last: list[list[object]] = topology.values("leaders")[-1][0]
    return last


def test_words_lead_while_they_are_said_and_are_forgotten_after_nine_seconds() -> None:
    with run(Trending) as topology:
        topology.emit("sentences", "tea tea tea milk")
        # One tick for the counts, and one for the ranking behind them.
        topology.advance(6.5)
        assert ranking(topology) == [["tea", 3], ["milk", 1]]
        topology.emit("sentences", "milk milk milk")
        topology.advance(3)
        topology.advance(3)
        assert ranking(topology)[0] == ["milk", 4]
        topology.emit("sentences", "sugar")
        for _ in range(3):
            topology.advance(3)
        assert ranking(topology) == [["sugar", 1]]
        counts = topology.values("counts")
        assert ("tea", 0) in counts
        assert counts.index(("tea", 0)) == len(counts) - 1 - counts[::-1].index(("tea", 0))


def test_it_runs_until_it_is_interrupted() -> None:
    command = [sys.executable, "-m", "umbrella", "run", str(HERE / "trending.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8", start_new_session=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        # As Ctrl-C does, to it and to what it started.
        os.killpg(process.pid, signal.SIGINT)
        process.stdout.read()
        assert process.wait() == 0
    assert line.startswith("[")

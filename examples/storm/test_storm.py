"""Components of pystorm in a topology of Waterspout, against a count without any topology."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from umbrella import program

HERE = Path(__file__).parent


def test_components_written_for_storm_count_as_a_loop_does() -> None:
    text = HERE.parent / "wordcount" / "text"
    expected = Counter(word for path in text.iterdir() for word in path.read_text("utf-8").split())
    # The `python3` that this runs in has pystorm.
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    command = [program.find(None, os.environ), "run", str(HERE / "topology.yaml")]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env={**os.environ, "PATH": path})
    assert done.returncode == 0, done.stderr
    counts: dict[str, int] = {}
    for line in done.stdout.splitlines():
        word, count = line.split("\t")
        counts[word] = max(int(count), counts.get(word, 0))
    assert counts == dict(expected)

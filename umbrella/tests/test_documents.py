"""What the pages show in Python is what runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from umbrella import GeneratorSpout, Spout, load, manifest, program, yaml
from umbrella.builtin import BuiltinSpout
from umbrella.testing import run

REPOSITORY = Path(__file__).parents[2]


def blocks(page: str) -> list[str]:
    """The pieces of Python on a page that have a topology in them."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    found: list[str] = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [block for block in found if "(Topology)" in block]


PAGES = ("README.md", "umbrella/README.md", "docs/umbrella.md", "docs/scripts.md", "docs/from-storm.md")
BLOCKS = [(f"{page}:{number}", block) for page in PAGES for number, block in enumerate(blocks(page))]


def test_the_pages_have_something_to_try() -> None:
    assert len(BLOCKS) >= 8


def test_a_bolt_in_a_few_lines_of_the_protocol_passes_on_what_it_gets(tmp_path: Path) -> None:
    text = (REPOSITORY / "docs/scripts.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    (tmp_path / "bolt.py").write_text(block, encoding="utf-8")
    (tmp_path / "app.py").write_text(
        f"""
from umbrella import CommandBolt, GeneratorSpout, StdoutBolt, Topology

class Passed(Topology):
    numbers = GeneratorSpout(count=1000)
    same = CommandBolt(argv=[{sys.executable!r}, "bolt.py"], fields="number", inputs=numbers, tick_every="1s")
    out = StdoutBolt(inputs=same)
""",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "umbrella", "run", str(tmp_path / "app.py")]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert sorted(map(int, done.stdout.split())) == list(range(1000))


@pytest.mark.parametrize("block", [block for _, block in BLOCKS], ids=[name for name, _ in BLOCKS])
def test_what_a_page_shows_is_valid_and_comes_to_its_end(block: str, tmp_path: Path) -> None:
    name = f"page_{abs(hash(block))}"
    path = tmp_path / f"{name}.py"
    path.write_text(f"from umbrella import *\n{block}", encoding="utf-8")
    app = load.load(str(path))
    waterspout = program.find(None, os.environ)
    text = yaml.documents(manifest.local(app))
    checked = subprocess.run([waterspout, "validate", "-"], input=text, capture_output=True, encoding="utf-8")
    assert checked.returncode == 0, checked.stderr
    spouts = [each for each in app.topology._components.values() if isinstance(each, Spout)]
    # Those that read the outside are fed, with nothing.
    live = [each for each in spouts if isinstance(each, GeneratorSpout) or not isinstance(each, BuiltinSpout)]
    with run(app.topology, live=live) as topology:
        topology.advance(1)
        topology.end()
        assert bool(topology.sent) == bool(live)

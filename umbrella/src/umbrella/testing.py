"""Topologies in tests: the real data plane in a process beside the test, with inputs given and time under control.

::

    from umbrella.testing import run

    def test_words_are_counted() -> None:
        with run(WordCount) as topology:
            message = topology.emit("lines", "to be or not to be")
            assert ("to", 2) in topology.values("counts")
            assert topology.acked("lines") == [message]

Owns: the process, what it is told and what it answers. Leaves to others: running (`waterspout drive`). Invariants: when
a call returns, all that it led to has happened; what one task does comes in the same order each time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import IO, Any

from . import _script, load, manifest, program, yaml
from .builtin import _Settings
from .components import Bolt, Component, Spout
from .errors import UmbrellaError
from .names import listed
from .places import caller
from .streams import StreamMeta, fill
from .topology import Topology

#: Kinds of built-in bolts that write to the outside.
_TOUCHING = {"stdout", "file", "redis"}


class TestingError(UmbrellaError):
    """A test asks for something that cannot be done, or the topology broke."""

    __test__ = False


@dataclass(frozen=True)
class Sent:
    """A tuple that went from one task to another."""

    #: The component that emitted it, and the stream.
    origin: str
    stream: str
    #: The component that it went to, and which task of it, from 0.
    to: str
    task: int
    values: tuple[Any, ...]


class Running:
    """A topology in a test."""

    def __init__(self, topology: type[Topology], process: subprocess.Popen[str], stderr: IO[str]) -> None:
        self._topology = topology
        self._process = process
        self._stderr = stderr
        self._codec = _script._Json()
        self._sent: list[Sent] = []
        self._spouts: dict[str, dict[str, list[int]]] = {}
        self._is_fresh = False
        self._read()

    def emit(self, spout: str | Component, *values: Any, stream: str = "default", **named: Any) -> int:
        """Lets a spout emit a tuple, and the topology work on it. The tuple's number, as in `acked` and `failed`."""
        declared = self._component(spout).streams()
        if stream not in declared:
            raise TestingError(f"'{self._name(spout)}' has no stream '{stream}'; it has {listed(declared)}", caller())
        row = fill(declared[stream], values, named)
        text = self._codec.encode(list(row)).decode()
        answer = self._do("emit", spout=self._name(spout), stream=stream, values=text)
        id: int = answer["id"]
        return id

    def values(self, component: str | Component, stream: str | StreamMeta | type = "default") -> list[tuple[Any, ...]]:
        """The tuples that a component emitted to a stream and that a bolt read; those of one task in their order."""
        name = stream.stream if isinstance(stream, StreamMeta) else stream
        found = self._component(component)
        if name not in found.streams():
            raise TestingError(f"'{found.name}' has no stream '{name}'; it has {listed(found.streams())}", caller())
        return [sent.values for sent in self.sent if sent.origin == found.name and sent.stream == name]

    @property
    def sent(self) -> list[Sent]:
        """All tuples that went from task to task."""
        self._look()
        return self._sent

    def acked(self, spout: str | Component) -> list[int]:
        """The numbers of the tuples of a spout whose trees are done."""
        return self._heard(spout, "acked")

    def failed(self, spout: str | Component) -> list[int]:
        """The numbers of the tuples of a spout that failed, each as often as it did.

        The spout hears of it after the pause before the next attempt, 50 ms at first: `advance` first.
        """
        return self._heard(spout, "failed")

    def advance(self, time: float | timedelta) -> None:
        """Lets time go by, in seconds, and what is due in it happen: ticks, time-outs, attempts."""
        seconds = time.total_seconds() if isinstance(time, timedelta) else time
        self._do("advance", milliseconds=round(seconds * 1000))

    def fail_next(self, bolt: str | Component, count: int = 1) -> None:
        """Lets the next tuples that go to a bolt fail instead of being worked on."""
        self._do("failNext", bolt=self._name(bolt), count=count)

    def replay(self, spout: str | Component) -> None:
        """From now on a spout that is fed emits failed tuples again, as real ones do."""
        self._do("replay", spout=self._name(spout))

    def lose(self) -> None:
        """Loses all that is in flight, as when a worker dies."""
        self._do("lose")

    def pause(self) -> None:
        """Pauses the topology."""
        self._do("activate", active=False)

    def resume(self) -> None:
        """Lets a paused topology go on."""
        self._do("activate", active=True)

    def end(self) -> None:
        """Ends the input: the bolts finish, one behind the other."""
        self._do("end")

    def _heard(self, spout: str | Component, what: str) -> list[int]:
        self._look()
        name = self._name(spout)
        if name not in self._spouts:
            raise TestingError(f"'{name}' is not fed by the test, so it is not known what it heard", caller())
        return list(self._spouts[name][what])

    def _component(self, component: str | Component) -> Component:
        name = self._name(component)
        components = self._topology._components
        if name not in components:
            raise TestingError(f"'{self._topology.__name__}' has no '{name}'; it has {listed(components)}", caller())
        return components[name]

    @staticmethod
    def _name(component: str | Component) -> str:
        return component.name if isinstance(component, Component) else component.replace("_", "-")

    def _look(self) -> None:
        if self._is_fresh:
            return
        answer = self._do("look", **{"from": len(self._sent)})
        for sent in answer["sent"]:
            values = tuple(self._codec.decode(sent["values"].encode()))
            self._sent.append(Sent(sent["from"], sent["stream"], sent["to"], sent["task"], values))
        self._spouts = answer["spouts"]
        self._is_fresh = True

    def _do(self, order: str, **arguments: Any) -> dict[str, Any]:
        self._is_fresh = False
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": order, **arguments}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            # Why it ended is on standard error.
            pass
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._stderr.seek(0)
            raise TestingError(f"the topology broke:\n{self._stderr.read().strip()}", caller())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise TestingError(answer["error"], caller())
        return answer


@contextmanager
def run(
    topology: type[Topology],
    *,
    live: Iterable[str | Component] = (),
    waterspout: str | None = None,
) -> Iterator[Running]:
    """Runs a topology for a test.

    Spouts emit only what the test gives them, but for those in `live`, which are as they are written. Bolts that write
    to the outside (`StdoutBolt`, `FileBolt`, `RedisBolt`) do nothing. What was logged appears if the test fails.

    Args:
        topology: The class.
        live: The spouts that are not fed by the test; they should come to an end, or rest.
        waterspout: The program; found as `umbrella run` does if absent.
    """
    found = program.find(waterspout, os.environ)
    alive = {Running._name(each) for each in live}
    components = topology._components
    unknown = [name for name in alive if not isinstance(components.get(name), Spout)]
    if unknown:
        raise TestingError(f"'{topology.__name__}' has no spout '{unknown[0]}'", caller())
    flags = []
    for component in components.values():
        if isinstance(component, Spout) and component.name not in alive:
            flags += ["--feed", component.name]
        elif isinstance(component, Bolt) and isinstance(component, _Settings) and component._kind in _TOUCHING:
            flags += ["--silence", component.name]
    app = load.app_of(topology)
    with tempfile.TemporaryDirectory(prefix="umbrella-") as folder:
        path = os.path.join(folder, "topology.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(yaml.documents(manifest.local(app)))
        environment = {**os.environ, "PYTHONPATH": _python_path()}
        with open(os.path.join(folder, "stderr"), "w+", encoding="utf-8", errors="replace") as stderr:
            process = subprocess.Popen(
                [found, "drive", path, "--base", os.path.dirname(app.file), *flags],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=environment,
                text=True,
                encoding="utf-8",
            )
            try:
                yield Running(topology, process, stderr)
            finally:
                _end(process, stderr)


def _end(process: subprocess.Popen[str], stderr: IO[str]) -> None:
    """Ends the process, and shows what was logged, which pytest keeps for a test that fails."""
    assert process.stdin is not None and process.stdout is not None
    with suppress(BrokenPipeError):
        process.stdin.close()
    process.stdout.close()
    process.wait()
    stderr.seek(0)
    sys.stderr.write(stderr.read())


def _python_path() -> str:
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])

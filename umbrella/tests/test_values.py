"""One table of values, through both protocols, in Python and in Node.js: `script/vectors.json`, and large ones."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from umbrella import (
    CommandBolt,
    Input,
    JavaScriptBolt,
    RedisSpout,
    StdoutBolt,
    Topology,
    _script,
    bolt,
)
from umbrella.testing import Running, run

HERE = Path(__file__).parent
CODEC = _script._Json()
STORM = str(HERE / "storm" / "echo.py")
STORM_NODE = str(HERE / "storm" / "echo.js")


@bolt("name value")
def echo(input: Input) -> Iterator[tuple[Any, Any]]:
    """Emits what it gets."""
    yield input.name, input.value


class Echoes(Topology):
    """Each of its bolts passes on what it gets."""

    values = RedisSpout(address="127.0.0.1:1", stream="none", group="none", fields="name value")
    #: Those that `JSON.parse` can hold.
    small = RedisSpout(address="127.0.0.1:1", stream="none", group="none", fields="name value")
    python = echo(inputs=values)
    node = JavaScriptBolt(
        code="function process(tup) { return [tup.name, tup.value]; }", fields="name value", inputs=values
    )
    storm_json = CommandBolt(
        argv=[sys.executable, STORM, "json"], protocol="Multilang", fields="name value", inputs=values
    )
    storm_pack = CommandBolt(
        argv=[sys.executable, STORM, "msgpack"],
        protocol="Multilang",
        serializer="MessagePack",
        fields="name value",
        inputs=values,
    )
    storm_node = CommandBolt(
        argv=["node", STORM_NODE, "exact"], protocol="Multilang", fields="name value", inputs=values
    )
    storm_plain = CommandBolt(
        argv=["node", STORM_NODE, "plain"], protocol="Multilang", fields="name value", inputs=small
    )
    out = StdoutBolt(inputs=[python, node, storm_json, storm_pack, storm_node, storm_plain])


def table() -> dict[str, Any]:
    """The values by name."""
    path = HERE.parents[1] / "script" / "vectors.json"
    vectors = json.loads(path.read_text(encoding="utf-8"))
    found = {vector["name"]: CODEC.decode(vector["json"].encode()) for vector in vectors}
    found["text of 10 MB"] = "grüße " * 1_250_000
    found["bytes of 2 MB"] = bytes(range(256)) * 8_000
    found["list of 10,000"] = [{"a": [number, None]} for number in range(10_000)]
    return found


def is_exact_in_json_of_javascript(value: Any) -> bool:
    """Whether it has no number that `JSON.parse` cannot hold."""
    numbers: list[int] = []
    json.loads(shown((value,)), parse_int=lambda digits: numbers.append(int(digits)))
    return all(abs(number) <= 2**53 for number in numbers)


def shown(values: tuple[Any, ...]) -> str:
    """Values with their types: 1 and 1.0 differ, and NaN equals itself."""
    text: bytes = CODEC.encode(list(values))
    return text.decode()


def in_javascript(value: Any) -> Any:
    """What becomes of a value where numbers have no types: a float without a fraction is an integer."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


TABLE = table()
SMALL = [name for name, value in TABLE.items() if is_exact_in_json_of_javascript(value)]


@pytest.fixture(scope="module", params=["MessagePack", "Json"])
def topology(request: pytest.FixtureRequest) -> Iterator[Running]:
    """The topology after all values went through it, with either encoding of the script protocol."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WATERSPOUT_ENCODING", request.param)
        with run(Echoes) as running:
            for name, value in TABLE.items():
                running.emit("values", name, value)
            for name in SMALL:
                running.emit("small", name, TABLE[name])
            yield running


@pytest.mark.parametrize("component", ["python", "storm-json", "storm-pack"])
def test_every_value_is_the_same_behind_python(topology: Running, component: str) -> None:
    found = dict(topology.values(component))
    assert list(found) == list(TABLE)
    for name, value in TABLE.items():
        assert shown((found[name],)) == shown((value,)), name


@pytest.mark.parametrize("component", ["node", "storm-node"])
def test_every_value_is_the_same_behind_node_but_for_floats_without_a_fraction(
    topology: Running, component: str
) -> None:
    found = dict(topology.values(component))
    assert list(found) == list(TABLE)
    for name, value in TABLE.items():
        assert shown((found[name],)) == shown((in_javascript(value),)), name


def test_a_program_for_storm_with_the_json_of_node_keeps_what_that_can_hold(topology: Running) -> None:
    found = dict(topology.values("storm-plain"))
    assert list(found) == SMALL
    assert len(SMALL) >= 35
    for name in SMALL:
        assert shown((found[name],)) == shown((in_javascript(TABLE[name]),)), name


def test_all_are_acknowledged(topology: Running) -> None:
    assert len(topology.acked("values")) == len(TABLE)
    assert len(topology.acked("small")) == len(SMALL)

"""Components in Python on the real data plane."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from umbrella.testing import Running, TestingError, run

from . import topologies


def test_words_are_counted_and_totals_come_at_the_end() -> None:
    with run(topologies.WordCount) as topology:
        first = topology.emit("lines", "to be or")
        second = topology.emit(topologies.WordCount.lines, line="not to be")
        words = ["to", "be", "or", "not", "to", "be"]
        assert sorted(topology.values("words")) == sorted((word,) for word in words)
        assert sorted(topology.values("counts")) == [("be", 1), ("be", 2), ("not", 1), ("or", 1), ("to", 1), ("to", 2)]
        assert topology.acked("lines") == [first, second]
        topology.end()
        totals = sorted(topology.values("counts", "totals"))
        assert totals == [("be", 2), ("not", 1), ("or", 1), ("to", 2)]


def test_equal_words_go_to_one_task() -> None:
    with run(topologies.WordCount) as topology:
        for _ in range(5):
            topology.emit("lines", "a b c d e f")
        tasks: dict[str, set[int]] = {}
        for sent in topology.sent:
            if sent.to == "counts":
                tasks.setdefault(sent.values[0], set()).add(sent.task)
        assert all(len(of_word) == 1 for of_word in tasks.values())
        assert len(set.union(*tasks.values())) == 2


def test_ticks_come_with_the_tests_time() -> None:
    with run(topologies.WordCount) as topology:
        topology.emit("lines", "a")
        topology.advance(9)
        assert ("(tick)", 1) not in topology.values("counts")
        topology.advance(1.5)
        assert sorted(topology.values("counts")[1:]) == [("(tick)", 0), ("(tick)", 1)]


def test_a_bolt_fails_a_tuple_and_no_other() -> None:
    with run(topologies.Streams) as topology:
        messages = {value: topology.emit("values", value, 1) for value in ["fail", "raise", "good", 7, "é"]}
        topology.advance(0.1)
        assert topology.failed("values") == [messages["fail"], messages["raise"]]
        assert topology.acked("values") == [messages["good"], messages[7], messages["é"]]
        assert topology.values("picky") == [(["good", "default"],), (["é", "default"],)]
        assert topology.values("picky", "odd") == [(7, "from values")]


def test_what_does_not_fit_its_stream_fails_the_tuple(capfd: pytest.CaptureFixture[str]) -> None:
    with run(topologies.Streams) as topology:
        message = topology.emit("values", "wide", 2)
        topology.advance(0.1)
        assert topology.failed("values") == [message]
        assert topology.values("picky") == []
    log = capfd.readouterr().err
    assert "stream 'default' has 1 field (value), and 2 values were emitted" in log
    source = Path(topologies.__file__).read_text(encoding="utf-8").splitlines()
    line = 1 + next(number for number, text in enumerate(source) if "(1, 2, 3)[: input.width]" in text)
    assert f"topologies.py:{line}: " in log


def test_an_exception_is_logged_with_its_line(capfd: pytest.CaptureFixture[str]) -> None:
    with run(topologies.Streams) as topology:
        topology.emit("values", "raise", 1)
    log = capfd.readouterr().err
    assert "ValueError: a bug" in log
    # As a traceback that begins with the user's line.
    source = Path(topologies.__file__).read_text(encoding="utf-8").splitlines()
    line = 1 + next(number for number, text in enumerate(source) if 'raise ValueError("a bug")' in text)
    assert f'Traceback (most recent call last):\n  File "{topologies.__file__}", line {line}, in ' in log
    assert 'raise ValueError("a bug")\n' in log


def test_held_tuples_are_acked_when_they_are_let_go_of() -> None:
    with run(topologies.Joined) as topology:
        one = topology.emit("sides", "left", 1)
        two = topology.emit("sides", "left", 2)
        # Held ones do not time out.
        topology.advance(100)
        assert topology.acked("sides") == []
        right = topology.emit("sides", "right", "r")
        assert topology.values("join") == [(1, "r"), (2, "r")]
        assert sorted(topology.acked("sides")) == [one, two, right]
        three = topology.emit("sides", "left", 3)
        topology.emit("sides", "right", "bad")
        topology.advance(0.1)
        assert topology.failed("sides") == [three]


def test_coroutines_are_bolts() -> None:
    with run(topologies.Asynchronous) as topology:
        good = topology.emit("names", "ada")
        bad = topology.emit("names", "")
        topology.advance(0.1)
        assert topology.values("measured") == [("ada", 3)]
        assert topology.values("spelt") == [("a",), ("d",), ("a",)]
        assert topology.acked("names") == [good]
        assert topology.failed("names") == [bad]


def test_a_direct_stream_goes_where_the_bolt_says() -> None:
    with run(topologies.Direct) as topology:
        for number in range(6):
            topology.emit("numbers", number)
        sent = [(sent.values[0], sent.task) for sent in topology.sent if sent.to == "sink"]
        assert sent == [(number, number % 3) for number in range(6)]


def test_a_cycle_comes_to_an_end() -> None:
    with run(topologies.Cycle) as topology:
        root = topology.emit("seeds", "", 0)
        assert len(topology.values("follow")) == 2 + 4 + 8
        assert topology.acked("seeds") == [root]
        topology.end()


def test_tuples_fail_on_purpose_and_are_emitted_again() -> None:
    with run(topologies.WordCount) as topology:
        topology.replay("lines")
        topology.fail_next("counts")
        message = topology.emit("lines", "once")
        assert topology.acked("lines") == []
        topology.advance(1)
        assert topology.failed("lines") == [message]
        assert topology.acked("lines") == [message]
        assert topology.values("counts") == [("once", 1)]


def test_spouts_in_python_emit_hear_and_end() -> None:
    with run(topologies.Spouts, live=["counting", "spelling", "tickets"]) as topology:
        topology.advance(1)
        assert topology.values("counting") == [(number,) for number in range(5)]
        assert topology.values("spelling") == [("a",), ("b",), ("c",)]
        assert topology.values("tickets") == [("two",), ("one",)]
        assert sorted(topology.values("tickets", "heard")) == [("one", "acked"), ("two", "acked")]


def test_a_spout_emits_again_what_failed() -> None:
    with run(topologies.Spouts, live=["tickets"]) as topology:
        topology.advance(1)
        assert topology.values("tickets", "heard") != []


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -1,
        2**63 - 1,
        2**200,
        -(2**200),
        0.5,
        "",
        "grüße 🌂",
        b"\x00\xff",
        [1, ["a"]],
        {"a": {"b": [None]}},
        {"$a": 1},
    ],
)
def test_values_of_every_type_pass_through(value: object) -> None:
    with run(topologies.Spouts) as topology:
        topology.emit("counting", value)
        assert topology.values("echo") == [(value,)]


@pytest.fixture
def running() -> Iterator[Running]:
    with run(topologies.WordCount) as topology:
        yield topology


def test_a_test_that_asks_for_what_is_not_there_is_told_so(running: Running) -> None:
    with pytest.raises(TestingError, match="has no 'nobody'; it has 'lines', 'words', 'counts', 'out', 'totals'"):
        running.values("nobody")
    with pytest.raises(TestingError, match="has no stream 'other'"):
        running.values("words", "other")
    with pytest.raises(Exception, match=r"stream 'default' has 1 field \(line\), and 2 values"):
        running.emit("lines", 1, 2)
    with pytest.raises(TestingError, match="is no spout that the test feeds"):
        running._do("replay", spout="words")


def test_a_spout_without_an_end_keeps_the_topology_from_ending() -> None:
    with (
        run(topologies.Endless, live=["numbers"]) as topology,
        pytest.raises(TestingError, match="'numbers' still at work"),
    ):
        topology.end()

"""The analytics of the access log, against what awk says of the same file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from access_log import AccessLog
from umbrella.testing import run

HERE = Path(__file__).parent

# Fields between quotes and blanks, which this file allows. Its times are an hour ahead of UTC.
_AWK = r"""
split($4, at, ":") == 4 && at[4] < 60 && NF > 8 {
  minute = sprintf("2026-03-14T%02d:%sZ", at[2] - 1, at[3])
  status = substr($0, match($0, /" [0-9][0-9][0-9] /) + 2, 3)
  requests[minute]++; errors[minute] += status >= 500
  path = $6 ~ /^"[A-Z]+$/ ? $7 : "-"; sub(/\?.*/, "", path); paths[path]++
}
END {
  for (minute in requests) print "minute", minute, requests[minute], errors[minute]
  for (path in paths) print "path", path, paths[path]
}
"""


def line(time: str, request: str, status: int, agent: str = "curl/8.5.0") -> str:
    """A line of the log."""
    return f'203.0.113.1 - ada [14/Mar/2026:{time} +0100] "{request}" {status} 512 "-" "{agent}"'


@pytest.fixture(scope="module")
def printed() -> list[dict[str, Any]]:
    """What the topology prints of the log."""
    command = [sys.executable, "-m", "umbrella", "run", str(HERE / "access_log.py")]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def expected() -> list[list[str]]:
    """What awk says of it."""
    done = subprocess.run(["awk", _AWK, str(HERE / "access.log")], capture_output=True, encoding="utf-8", check=True)
    return [line.split(" ") for line in done.stdout.splitlines()]


def test_each_minute_has_its_requests_and_errors(printed: list[dict[str, Any]], expected: list[list[str]]) -> None:
    rates = {each["minute"]: (each["requests"], each["errors"]) for each in printed if "minute" in each}
    assert rates == {each[1]: (int(each[2]), int(each[3])) for each in expected if each[0] == "minute"}
    worst = max((each for each in printed if "ratio" in each), key=lambda each: float(each["ratio"]))
    # In this minute the API was away.
    assert worst["minute"] == "2026-03-14T08:31Z"
    assert worst["ratio"] == round(worst["errors"] / worst["requests"], 3) > 0.05


def test_the_paths_that_are_asked_for_most_are_ranked(printed: list[dict[str, Any]], expected: list[list[str]]) -> None:
    ranking = [(each["path"], each["count"]) for each in printed if "rank" in each][-5:]
    counts = [(each[1], int(each[2])) for each in expected if each[0] == "path"]
    assert ranking == sorted(counts, key=lambda each: (-each[1], each[0]))[:5]


def test_what_is_no_request_is_passed_on_with_the_reason(printed: list[dict[str, Any]]) -> None:
    rejected = {each["reason"] for each in printed if "reason" in each}
    assert rejected == {"not in the Combined Log Format", "the time cannot be read"}


def test_what_has_changed_is_said_at_each_tick() -> None:
    with run(AccessLog) as topology:
        topology.emit("lines", line("09:26:50", "GET /a?b=c HTTP/1.1", 200, r"an \"agent\""))
        topology.emit("lines", line("09:26:59", "POST /a HTTP/2.0", 502))
        assert topology.values("requests")[0] == ("2026-03-14T08:26Z", "GET", "/a", 200, 512)
        assert topology.values("minutes") == []
        topology.advance(10.5)
        assert topology.values("minutes") == [("2026-03-14T08:26Z", 2, 1, 0.5)]
        topology.advance(10)
        assert topology.values("top") == [(1, "/a", 2)]
        topology.emit("lines", line("09:27:00", "GET /b HTTP/1.1", 200))
        topology.advance(20)
        assert topology.values("minutes")[1:] == [("2026-03-14T08:27Z", 1, 0, 0.0)]
        assert topology.values("top")[1:] == [(1, "/a", 2), (2, "/b", 1)]

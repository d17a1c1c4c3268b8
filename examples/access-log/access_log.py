"""Analytics of a web server's access log: requests and errors per minute, and the paths that are asked for most.

`umbrella run access_log.py` reads `access.log`, in the Combined Log Format of Apache httpd and nginx. While it reads,
what has changed is said every ten seconds; when the log has ended, all that is left.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timezone

from umbrella import Bolt, FieldsGrouping, FileSpout, GlobalGrouping, Input, KeyedState, StdoutBolt, Stream, Topology

# host ident user [time] "request" status bytes "referer" "agent"; quotes in quotes are escaped with a backslash.
_QUOTED = r'"((?:[^"\\]|\\.)*)"'
_LINE = re.compile(rf"(\S+) \S+ (\S+) \[([^\]]+)\] {_QUOTED} (\d{{3}}) (\d+|-) {_QUOTED} {_QUOTED}\s*")
_REQUEST = re.compile(r"([A-Z]+) (\S+) HTTP/[\d.]+")


class Parse(Bolt):
    """Makes lines requests."""

    class Default(Stream):
        fields = "minute method path status bytes"

    class Rejected(Stream):
        fields = "line reason"

    def process(self, input: Input) -> Iterator[Stream]:
        found = _LINE.fullmatch(input.line)
        if found is None:
            yield self.Rejected(input.line, "not in the Combined Log Format")
            return
        _, _, time, request, status, size, _, _ = found.groups()
        try:
            at = datetime.strptime(time, "%d/%b/%Y:%H:%M:%S %z").astimezone(timezone.utc)
        except ValueError:
            yield self.Rejected(input.line, "the time cannot be read")
            return
        # What a client sent that is no request (a scan, a TLS handshake) is logged, too, mostly with status 400.
        method, path = asked.groups() if (asked := _REQUEST.fullmatch(request)) else ("-", "-")
        yield self.Default(
            minute=at.strftime("%Y-%m-%dT%H:%MZ"),
            method=method,
            path=path.split("?", 1)[0],
            status=int(status),
            bytes=0 if size == "-" else int(size),
        )


class PerMinute(Bolt):
    """Requests, errors of the server, and their ratio, for each minute."""

    class Default(Stream):
        fields = "minute requests errors ratio"

    tick_every = "10s"
    requests = KeyedState(int)
    errors = KeyedState(int)

    def setup(self) -> None:
        self.changed: set[str] = set()

    def process(self, input: Input) -> None:
        self.requests[input.minute] += 1
        self.errors[input.minute] += input.status >= 500
        self.changed.add(input.minute)

    def tick(self) -> Iterator[Stream]:
        for minute in sorted(self.changed):
            requests, errors = self.requests[minute], self.errors[minute]
            yield self.Default(minute, requests, errors, round(errors / requests, 3))
        self.changed.clear()

    def finish(self) -> Iterator[Stream]:
        yield from self.tick()


class CountPaths(Bolt):
    """Counts the paths that come to it, and passes those on that changed."""

    class Default(Stream):
        fields = "path count"

    tick_every = "10s"
    counts = KeyedState(int)

    def setup(self) -> None:
        self.changed: set[str] = set()

    def process(self, input: Input) -> None:
        self.counts[input.path] += 1
        self.changed.add(input.path)

    def tick(self) -> Iterator[Stream]:
        for path in self.changed:
            yield self.Default(path, self.counts[path])
        self.changed.clear()

    def finish(self) -> Iterator[Stream]:
        yield from self.tick()


class Top(Bolt):
    """The paths with the highest counts."""

    class Default(Stream):
        fields = "rank path count"

    tick_every = "10s"

    def __init__(self, tasks: int = 1, *, size: int = 5, **options: object) -> None:
        super().__init__(tasks, **options)  # type: ignore[arg-type]
        self.size = size

    def setup(self) -> None:
        self.counts: dict[str, int] = {}
        self.said: list[tuple[str, int]] = []

    def process(self, input: Input) -> None:
        self.counts[input.path] = input.count

    def tick(self) -> Iterator[Stream]:
        ranking = sorted(self.counts.items(), key=lambda each: (-each[1], each[0]))[: self.size]
        if ranking != self.said:
            self.said = ranking
            for rank, (path, count) in enumerate(ranking, 1):
                yield self.Default(rank, path, count)

    def finish(self) -> Iterator[Stream]:
        yield from self.tick()


class AccessLog(Topology):
    """A log that is read once, cut by two tasks and counted by two more of each kind."""

    lines = FileSpout(path="access.log")
    requests = Parse(2, inputs=lines)
    minutes = PerMinute(2, inputs=FieldsGrouping(requests, "minute"))
    paths = CountPaths(2, inputs=FieldsGrouping(requests, "path"))
    top = Top(inputs=GlobalGrouping(paths))
    rates = StdoutBolt(format="Json", inputs=GlobalGrouping(minutes))
    ranking = StdoutBolt(format="Json", inputs=GlobalGrouping(top))
    rejected = StdoutBolt(format="Json", inputs=requests.Rejected)

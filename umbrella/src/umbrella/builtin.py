"""The built-in components, which run without Python: files, generator, Redis, words, counts, standard output, programs.

Owns: their settings as arguments, and the streams that they have unless told otherwise. Leaves to others: what they do
(docs/components/ of Waterspout). What an argument means and may be is said by `waterspout explain`, and checked by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .components import Bolt, Spout
from .errors import DeclarationError
from .groupings import Origins
from .names import parse_fields
from .places import Place
from .streams import Stream, StreamMeta, StreamOf

Fields = str | Sequence[str]
Streams = Mapping[str, Fields] | None


#: Kinds that emit one field.
_ONE_FIELD = ("file", "generator", "split")


class _Settings:
    """What the built-in spouts and bolts have in common."""

    _kind: str
    _settings: dict[str, Any]
    _made: dict[str, StreamMeta]
    _streams: dict[str, StreamMeta]
    _place: Place
    #: Fields that every input must have.
    _needs: tuple[str, ...] = ()

    def _set(self, kind: str, settings: Mapping[str, Any], fields: Fields | None, streams: Streams = None) -> None:
        self._kind = kind
        if fields is not None and kind in _ONE_FIELD and len(parse_fields(fields, "a stream", self._place)) != 1:
            raise DeclarationError(f"{type(self).__name__} emits one field, and `fields` names several", self._place)
        self._settings = {key: value for key, value in settings.items() if value is not None}
        declared = dict(streams or {})
        if fields is not None and not any(each.stream == "default" for each in type(self)._streams.values()):
            declared.setdefault("default", fields)
        self._made = {}
        for name, names in declared.items():
            parse_fields(names, f"stream '{name}'", self._place)
            attribute = "".join(part.capitalize() for part in name.split("-"))
            cls = StreamMeta(attribute, (Stream,), {"fields": names, "name": name, "__slots__": ()})
            cls.place = self._place
            self._made[name] = cls
            setattr(self, attribute, StreamOf(self, cls))  # type: ignore[arg-type]

    def streams(self) -> dict[str, StreamMeta]:
        """Its streams, by their names in the manifest."""
        return {**{each.stream: each for each in type(self)._streams.values()}, **self._made}

    def manifest(self) -> dict[str, Any]:
        """What the manifest says of it."""
        return {self._kind: self._settings}


class BuiltinSpout(_Settings, Spout):
    """A spout of any kind that Waterspout knows, by its key in the manifest and its settings there."""

    def __init__(
        self,
        tasks: int = 1,
        *,
        kind: str,
        settings: Mapping[str, Any],
        fields: Fields | None = None,
        streams: Streams = None,
        name: str | None = None,
    ) -> None:
        super().__init__(tasks, name=name)
        self._set(kind, settings, fields, streams)

    def manifest(self) -> dict[str, Any]:
        """What the manifest says of it."""
        return _Settings.manifest(self)


class BuiltinBolt(_Settings, Bolt):
    """A bolt of any kind that Waterspout knows, by its key in the manifest and its settings there."""

    def __init__(
        self,
        tasks: int = 1,
        *,
        kind: str,
        settings: Mapping[str, Any],
        fields: Fields | None = None,
        streams: Streams = None,
        inputs: Origins = (),
        tick_every: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(tasks, inputs=inputs, name=name)
        if tick_every is not None:
            self.tick_every = tick_every  # type: ignore[misc]
        self._set(kind, settings, fields, streams)

    def manifest(self) -> dict[str, Any]:
        """What the manifest says of it."""
        return _Settings.manifest(self)


class FileSpout(BuiltinSpout):
    """The lines of files, one tuple each, with the field `line`."""

    def __init__(
        self,
        tasks: int = 1,
        *,
        path: str,
        follow: bool | None = None,
        invalid_utf8: str | None = None,
        fields: Fields = "line",
        name: str | None = None,
    ) -> None:
        settings = {"path": path, "follow": follow, "invalidUtf8": invalid_utf8}
        super().__init__(tasks, kind="file", settings=settings, fields=fields, name=name)


class GeneratorSpout(BuiltinSpout):
    """Made-up tuples: numbers, or sentences with `words`, or always the same `text`.

    Its one field is `number`, `sentence` or `text`.
    """

    def __init__(
        self,
        tasks: int = 1,
        *,
        count: int | None = None,
        rate: int | None = None,
        words: int | None = None,
        vocabulary: int | None = None,
        seed: int | None = None,
        text: str | None = None,
        fields: Fields | None = None,
        name: str | None = None,
    ) -> None:
        sentence = {"words": words, "vocabulary": vocabulary, "seed": seed}
        given = {key: value for key, value in sentence.items() if value is not None}
        shape: dict[str, Any]
        if text is not None:
            shape, field = {"constant": {"text": text}}, "text"
        elif given:
            shape, field = {"sentence": given}, "sentence"
        else:
            shape, field = {"sequence": {}}, "number"
        settings = {"count": count, "rate": rate, "shape": shape}
        super().__init__(tasks, kind="generator", settings=settings, fields=fields or field, name=name)
        if text is not None and given:
            raise DeclarationError("a generator makes sentences or a text; give it one of them", self._place)


class RedisSpout(BuiltinSpout):
    """The entries of a Redis stream, read through a consumer group; `fields` are those of the entries."""

    def __init__(
        self,
        tasks: int = 1,
        *,
        address: str,
        stream: str,
        group: str,
        fields: Fields | None = None,
        bounded: bool | None = None,
        claim_after: str | None = None,
        start: str | None = None,
        name: str | None = None,
    ) -> None:
        settings = {
            "address": address,
            "stream": stream,
            "group": group,
            "bounded": bounded,
            "claimAfter": claim_after,
            "from": start,
        }
        super().__init__(tasks, kind="redis", settings=settings, fields=fields, name=name)


class RustSpout(BuiltinSpout):
    """A spout of a worker's own program, by the name that it is registered with."""

    def __init__(
        self, tasks: int = 1, *, component: str, config: Any = None, streams: Streams = None, name: str | None = None
    ) -> None:
        settings = {"component": component, "config": config}
        super().__init__(tasks, kind="rust", settings=settings, streams=streams, name=name)


class CommandSpout(BuiltinSpout):
    """A program that speaks the script protocol or Storm's multilang protocol (`protocol="Multilang"`).

    Storm's is JSON or, with `serializer="MessagePack"`, MessagePack.
    """

    def __init__(
        self,
        tasks: int = 1,
        *,
        argv: Sequence[str],
        protocol: str | None = None,
        serializer: str | None = None,
        config: Any = None,
        limits: Mapping[str, Any] | None = None,
        fields: Fields | None = None,
        streams: Streams = None,
        name: str | None = None,
    ) -> None:
        settings = {
            "argv": list(argv),
            "protocol": protocol,
            "serializer": serializer,
            "config": config,
            "limits": limits,
        }
        super().__init__(tasks, kind="command", settings=settings, fields=fields, streams=streams, name=name)


class FileBolt(BuiltinBolt):
    """Appends each tuple as a line to a file of each task in `directory`; `format` is `Text` or `Json`."""

    def __init__(
        self,
        tasks: int = 1,
        *,
        directory: str,
        format: str | None = None,
        inputs: Origins = (),
        name: str | None = None,
    ) -> None:
        settings = {"directory": directory, "format": format}
        super().__init__(tasks, kind="file", settings=settings, inputs=inputs, name=name)


class StdoutBolt(BuiltinBolt):
    """Prints each tuple as a line; `format` is `Text` or `Json`."""

    def __init__(
        self, tasks: int = 1, *, format: str | None = None, inputs: Origins = (), name: str | None = None
    ) -> None:
        super().__init__(tasks, kind="stdout", settings={"format": format}, inputs=inputs, name=name)


class SplitBolt(BuiltinBolt):
    """One tuple for each word of a text field, with the field `word`."""

    def __init__(
        self,
        tasks: int = 1,
        *,
        field: str = "line",
        fields: Fields = "word",
        inputs: Origins = (),
        name: str | None = None,
    ) -> None:
        super().__init__(tasks, kind="split", settings={"field": field}, fields=fields, inputs=inputs, name=name)
        self._needs = (field,)


class CountBolt(BuiltinBolt):
    """How often each combination of the fields in `by` was seen: those fields, and `count`.

    `emit` is `EachTuple`, `EachTick` (with `tick_every`), `AtFinish` or `Never`. Group its input by the same fields.
    """

    def __init__(
        self,
        tasks: int = 1,
        *,
        by: Fields,
        emit: str | None = None,
        tick_every: str | None = None,
        fields: Fields | None = None,
        inputs: Origins = (),
        name: str | None = None,
    ) -> None:
        # Said again by the base class if it is wrong, which knows the place.
        names = tuple(by.replace(",", " ").split()) if isinstance(by, str) else tuple(by)
        super().__init__(
            tasks,
            kind="count",
            settings={"by": list(names), "emit": emit},
            fields=None if emit == "Never" else fields or (*names, "count"),
            inputs=inputs,
            tick_every=tick_every,
            name=name,
        )
        self._needs = names


class RedisBolt(BuiltinBolt):
    """One Redis command for each tuple: exactly one of `append`, `increment` and `add`, with their settings."""

    def __init__(
        self,
        tasks: int = 1,
        *,
        address: str,
        append: Mapping[str, Any] | None = None,
        increment: Mapping[str, Any] | None = None,
        add: Mapping[str, Any] | None = None,
        inputs: Origins = (),
        name: str | None = None,
    ) -> None:
        settings = {"address": address, "append": append, "increment": increment, "add": add}
        super().__init__(tasks, kind="redis", settings=settings, inputs=inputs, name=name)
        if sum(each is not None for each in (append, increment, add)) != 1:
            raise DeclarationError("a RedisBolt has exactly one of `append`, `increment` and `add`", self._place)


class RustBolt(BuiltinBolt):
    """A bolt of a worker's own program, by the name that it is registered with."""

    def __init__(
        self,
        tasks: int = 1,
        *,
        component: str,
        config: Any = None,
        streams: Streams = None,
        inputs: Origins = (),
        tick_every: str | None = None,
        name: str | None = None,
    ) -> None:
        settings = {"component": component, "config": config}
        super().__init__(
            tasks, kind="rust", settings=settings, streams=streams, inputs=inputs, tick_every=tick_every, name=name
        )


class CommandBolt(BuiltinBolt):
    """A program that speaks the script protocol or Storm's multilang protocol (`protocol="Multilang"`).

    Storm's is JSON or, with `serializer="MessagePack"`, MessagePack.
    """

    def __init__(
        self,
        tasks: int = 1,
        *,
        argv: Sequence[str],
        protocol: str | None = None,
        serializer: str | None = None,
        config: Any = None,
        limits: Mapping[str, Any] | None = None,
        fields: Fields | None = None,
        streams: Streams = None,
        inputs: Origins = (),
        tick_every: str | None = None,
        name: str | None = None,
    ) -> None:
        settings = {
            "argv": list(argv),
            "protocol": protocol,
            "serializer": serializer,
            "config": config,
            "limits": limits,
        }
        super().__init__(
            tasks,
            kind="command",
            settings=settings,
            fields=fields,
            streams=streams,
            inputs=inputs,
            tick_every=tick_every,
            name=name,
        )


class ShellBolt(BuiltinBolt):
    """A line filter: each tuple is a line to a shell command, and each line that it writes is a tuple."""

    def __init__(
        self, tasks: int = 1, *, shell: str, fields: Fields = "line", inputs: Origins = (), name: str | None = None
    ) -> None:
        super().__init__(tasks, kind="script", settings={"shell": shell}, fields=fields, inputs=inputs, name=name)


class JavaScriptBolt(BuiltinBolt):
    """A bolt in JavaScript, given as its code."""

    def __init__(
        self,
        tasks: int = 1,
        *,
        code: str,
        config: Any = None,
        fields: Fields | None = None,
        streams: Streams = None,
        inputs: Origins = (),
        name: str | None = None,
    ) -> None:
        settings = {"javascript": code, "config": config}
        super().__init__(
            tasks, kind="script", settings=settings, fields=fields, streams=streams, inputs=inputs, name=name
        )

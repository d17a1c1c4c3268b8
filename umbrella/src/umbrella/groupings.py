"""Groupings: what a bolt reads, and which of its tasks a tuple goes to.

Owns: the groupings and the streams that they name. Leaves to others: whether the fields are there (`checks`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from .errors import DeclarationError
from .names import parse_fields
from .places import caller
from .streams import Stream, StreamMeta, StreamOf

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .components import Component

#: What a bolt may read: a component, for its stream `Default`, or one of its streams.
Origin: TypeAlias = "Component | type[Stream] | StreamOf"
#: One or several of them, each with or without a grouping.
Origins: TypeAlias = "Origin | Grouping | Sequence[Origin | Grouping]"


class Grouping:
    """What a bolt reads and how its tasks share it. See the classes below."""

    key: ClassVar[str] = ""

    def __init__(self, source: Origin) -> None:
        self.place = caller()
        self.component, self.stream = self._read(source)

    def _read(self, source: object) -> tuple[Component, str]:
        from .components import Component

        if isinstance(source, StreamOf):
            return source.component, source.cls.stream
        if isinstance(source, Component):
            return source, "default"
        hint = "a component of the topology or one of its streams, as in `parser` or `parser.Rejected`"
        if isinstance(source, StreamMeta):
            hint = f"the stream of a component, as in `parser.{source.__name__}`"
        elif isinstance(source, type):
            hint = f"one of its tasks' declarations: write `x = {source.__name__}(1)` first and group `x`"
        raise DeclarationError(f"{type(self).__name__} reads {source!r}; it takes {hint}", self.place)

    def manifest(self) -> dict[str, Any]:
        """What the manifest says of it."""
        return {self.key: {}}


class ShuffleGrouping(Grouping):
    """The tasks in turn. An input that is just a component means this."""

    key = "shuffle"

    def manifest(self) -> dict[str, Any]:
        """What the manifest says of it: nothing, since this is how an input is read by default."""
        return {}


class LocalOrShuffleGrouping(Grouping):
    """The tasks of the sender's worker in turn, or all if it has none."""

    key = "localOrShuffle"


class AllGrouping(Grouping):
    """Every task gets a copy."""

    key = "all"


class GlobalGrouping(Grouping):
    """The first task gets everything."""

    key = "global"


class NoneGrouping(Grouping):
    """Any task; today as `ShuffleGrouping`."""

    key = "none"


class DirectGrouping(Grouping):
    """The task that the sender names: for streams with `direct = True`."""

    key = "direct"


class _ByFields(Grouping):
    def __init__(self, source: Origin, *fields: str) -> None:
        super().__init__(source)
        self.fields = parse_fields(fields, type(self).__name__, self.place)

    def manifest(self) -> dict[str, Any]:
        return {self.key: list(self.fields)}


class FieldsGrouping(_ByFields):
    """Equal values of these fields go to the same task: `FieldsGrouping(split, "word")`."""

    key = "fields"


class PartialKeyGrouping(_ByFields):
    """Equal values of these fields go to the less busy of the same two tasks."""

    key = "partialKey"


class Inputs(list[Grouping]):
    """What a bolt reads. A component or a stream that is added is shuffled."""

    def append(self, source: Origin | Grouping) -> None:
        """Adds one."""
        super().append(source if isinstance(source, Grouping) else ShuffleGrouping(source))

    def extend(self, sources: Iterable[Origin | Grouping]) -> None:
        """Adds several."""
        for source in sources:
            self.append(source)

    def __iadd__(self, sources: Iterable[Origin | Grouping]) -> Inputs:  # type: ignore[override, misc]
        """Adds several."""
        self.extend(sources)
        return self

"""Checks of a topology's graph, when its class is defined.

Owns: what only the whole graph shows. Each error stands at the line that declares what is wrong. Leaves to others: what
is wrong with one component alone (`components`, `analysis`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from . import analysis
from .components import Bolt, Component, Spout, stream_named
from .errors import DeclarationError
from .groupings import DirectGrouping, Grouping, _ByFields
from .names import listed
from .streams import StreamMeta

if TYPE_CHECKING:
    from .topology import Topology


def check(topology: type[Topology], components: Mapping[str, Component]) -> None:
    """Checks a whole topology."""
    spouts = [each for each in components.values() if isinstance(each, Spout)]
    bolts = [each for each in components.values() if isinstance(each, Bolt)]
    if not spouts:
        raise DeclarationError(
            f"topology '{topology.__name__}' has no spout, so nothing ever comes in", topology._place
        )
    read: set[tuple[str, str]] = set()
    for bolt in bolts:
        groupings = bolt.inputs
        if not groupings:
            raise DeclarationError(
                f"'{bolt.name}' is not connected: it reads nothing; say what with `inputs=` or `.inputs.append(...)`",
                bolt._place,
            )
        inputs: dict[tuple[str, str], StreamMeta] = {}
        for grouping in groupings:
            stream = _check_grouping(grouping, bolt, components)
            key = (grouping.component.name, grouping.stream)
            if key in inputs:
                raise DeclarationError(
                    f"'{bolt.name}' reads stream '{key[1]}' of '{key[0]}' twice; one grouping is enough", grouping.place
                )
            inputs[key] = stream
        read.update(inputs)
        _check_reads(bolt, list(inputs.values()))
    _check_read(components, read)
    _check_reached(spouts, bolts)


def _check_grouping(grouping: Grouping, bolt: Bolt, components: Mapping[str, Component]) -> StreamMeta:
    source = grouping.component
    if components.get(source.name) is not source:
        raise DeclarationError(
            f"'{bolt.name}' reads {source!r}, which is not in the topology; it has {listed(components)}", grouping.place
        )
    stream = stream_named(source, grouping.stream, grouping.place)
    for field in grouping.fields if isinstance(grouping, _ByFields) else ():
        if field not in stream.names:
            raise DeclarationError(
                f"'{bolt.name}' groups by the field '{field}', which stream '{stream.stream}' of '{source.name}' does "
                f"not have; it has {listed(stream.names)}",
                grouping.place,
            )
    is_direct = bool(getattr(stream, "direct", False))
    if is_direct != isinstance(grouping, DirectGrouping):
        wants = "needs DirectGrouping" if is_direct else "is not direct; say `direct = True` in it"
        raise DeclarationError(f"stream '{stream.stream}' of '{source.name}' {wants}", grouping.place)
    return stream


def _check_reads(bolt: Bolt, inputs: list[StreamMeta]) -> None:
    fields = {field for stream in inputs for field in stream.names}
    for read in analysis.reads(type(bolt)):
        if read.field not in fields:
            raise DeclarationError(
                f"'{bolt.name}' reads the field '{read.field}', which its input does not have; it has "
                f"{listed(sorted(fields))}",
                read.place,
            )
    for field in getattr(bolt, "_needs", ()):
        for stream in inputs:
            if field not in stream.names:
                raise DeclarationError(
                    f"'{bolt.name}' needs the field '{field}', which its input stream '{stream.stream}' does not have; "
                    f"it has {listed(stream.names)}",
                    bolt._place,
                )


def _check_read(components: Mapping[str, Component], read: set[tuple[str, str]]) -> None:
    for component in components.values():
        streams = component.streams()
        for stream in streams.values():
            if (component.name, stream.stream) in read or getattr(stream, "optional", False):
                continue
            raise DeclarationError(
                f"nobody reads stream '{stream.stream}' of '{component.name}'; connect a bolt to it, remove it, or say "
                "`optional = True` in it",
                component._place if len(streams) == 1 else stream.place,
            )
        if isinstance(component, Spout) and not any(name == component.name for name, _ in read):
            raise DeclarationError(f"nobody reads spout '{component.name}'", component._place)


def _check_reached(spouts: list[Spout], bolts: list[Bolt]) -> None:
    reached: set[str] = {spout.name for spout in spouts}
    waiting = list(bolts)
    while waiting:
        more = [bolt for bolt in waiting if any(each.component.name in reached for each in bolt.inputs)]
        if not more:
            raise DeclarationError(f"'{waiting[0].name}' is not connected: no spout reaches it", waiting[0]._place)
        reached.update(bolt.name for bolt in more)
        waiting = [bolt for bolt in waiting if bolt not in more]

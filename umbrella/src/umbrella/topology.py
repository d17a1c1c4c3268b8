"""Topologies: classes whose attributes are components.

Owns: what a topology declares. Leaves to others: the checks of its graph (`checks`), its manifest (`manifest`).
Invariant: a topology class that exists has passed all checks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from . import checks
from .components import Component
from .errors import DeclarationError
from .names import LONGEST_TOPOLOGY, check_name, kebab, listed
from .places import Place, caller
from .requirements import Requirement


@dataclass(frozen=True)
class Delivery:
    """How tuples are tracked; what is absent is as Waterspout has it by default."""

    #: `AtLeastOnce` or `AtMostOnce`.
    mode: str | None = None
    #: A tuple whose tree takes longer fails, as `"30s"`.
    timeout: str | None = None
    #: How many tuples each spout task has in flight at most.
    max_pending: int | None = None
    #: How often a tuple is tried before it goes to its spout's stream `DeadLetters`.
    max_attempts: int | None = None
    #: How long what is in flight may take when the topology pauses.
    drain_timeout: str | None = None


class Topology:
    """A graph of components::

        class WordCount(Topology):
            lines = FileSpout(path="text/*")
            split = Split(2, inputs=lines)
            count = Count(2, inputs=FieldsGrouping(split, "word"))
            out = StdoutBolt(inputs=GlobalGrouping(count))

    What a bolt reads may also be added later, which a cycle needs: `fetch.inputs.append(ShuffleGrouping(links))`.
    """

    #: Its name; that of the class, as `word-count`, if absent.
    name: ClassVar[str]
    #: How many worker processes share its tasks.
    workers: ClassVar[int] = 1
    #: The image of the workers on a cluster.
    image: ClassVar[str | None] = None
    #: How tuples are tracked.
    delivery: ClassVar[Delivery] = Delivery()
    #: What must be installed where it runs, as in `["requests>=2.31"]`; checked when a task starts.
    requirements: ClassVar[Sequence[str]] = ()

    _components: ClassVar[Mapping[str, Component]] = {}
    _place: ClassVar[Place]
    _requirements: ClassVar[Sequence[Requirement]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._place = caller()
        _check_settings(cls)
        cls._requirements = [Requirement.parse(text, cls._place) for text in cls.requirements]
        components: dict[str, Component] = {}
        attributes: dict[str, Any] = {}
        for base in reversed(cls.__mro__):
            attributes.update(vars(base))
        for attribute, value in attributes.items():
            if isinstance(value, type) and issubclass(value, Component) and attribute in vars(cls):
                _not_called(cls, attribute, value)
            if not isinstance(value, Component):
                continue
            if value in components.values():
                raise DeclarationError(f"{value!r} is in the topology twice, also as '{attribute}'", value._place)
            check_name(value.name, "component", value._place)
            if value.name in components:
                raise DeclarationError(f"two components have the name '{value.name}'", value._place)
            components[value.name] = value
        cls._components = components
        if components:
            checks.check(cls, components)

    def __new__(cls) -> Topology:
        raise DeclarationError(f"'{cls.__name__}' is used as a class; a topology has no instances", caller())


def _not_called(cls: type[Topology], attribute: str, value: type[Component]) -> None:
    # A class that is defined inside of the topology is no mistake.
    if value.__qualname__.startswith(f"{cls.__qualname__}."):
        return
    raise DeclarationError(
        f"'{attribute}' is the class '{value.__name__}'; call it to have it in the topology, with its number of tasks: "
        f"`{attribute} = {value.__name__}(1)`",
        cls._place,
    )


def _check_settings(cls: type[Topology]) -> None:
    if "name" not in vars(cls):
        cls.name = kebab(cls.__name__)
    kinds: dict[str, tuple[type, ...]] = {
        "name": (str,),
        "workers": (int,),
        "image": (str, type(None)),
        "delivery": (Delivery,),
        "requirements": (list, tuple),
    }
    for setting, kind in kinds.items():
        value = getattr(cls, setting)
        if not isinstance(value, kind) or isinstance(value, bool):
            hint = "; give the component another name" if isinstance(value, Component) else ""
            raise DeclarationError(
                f"`{setting}` of the topology '{cls.__name__}' is a setting and takes "
                f"{listed(each.__name__ for each in kind)}{hint}",
                value._place if isinstance(value, Component) else cls._place,
            )
    check_name(cls.name, "topology", cls._place, LONGEST_TOPOLOGY)
    if not 1 <= cls.workers <= 64:
        raise DeclarationError(f"`workers` is {cls.workers}; it is from 1 to 64", cls._place)

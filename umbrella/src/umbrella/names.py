"""Names of topologies, components, streams and fields: how they are written in Python, and what they may look like."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .errors import DeclarationError
from .places import Place

_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_FIELD = re.compile(r"_?[A-Za-z][A-Za-z0-9_.-]*")
_MOST_FIELDS = 32
_LONGEST = 63

#: The most characters of a topology's name.
LONGEST_TOPOLOGY = 40


def kebab(python_name: str) -> str:
    """The name that a class or an attribute stands for: `LogParser` and `log_parser` are `log-parser`."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", python_name)
    return parted.replace("_", "-").strip("-").lower()


def check_name(name: str, what: str, place: Place, longest: int = _LONGEST) -> str:
    """The name, if it may be the name of a `what`."""
    if not _NAME.fullmatch(name) or len(name) > longest:
        raise DeclarationError(
            f"{what} '{name}' has no name that Kubernetes takes: at most {longest} of a-z, 0-9 and '-', a letter first "
            "and no '-' last; give it another with `name`",
            place,
        )
    return name


def parse_fields(fields: object, what: str, place: Place) -> tuple[str, ...]:
    """Names of fields: a text with blanks or commas between them, or a list of texts."""
    if isinstance(fields, str):
        names = tuple(fields.replace(",", " ").split())
    elif isinstance(fields, Iterable):
        names = tuple(fields)
    else:
        names = ()
    if not 1 <= len(names) <= _MOST_FIELDS:
        raise DeclarationError(f"{what} needs 1 to {_MOST_FIELDS} fields, as in `fields = 'ip url'`", place)
    for name in names:
        if not isinstance(name, str) or not _FIELD.fullmatch(name) or len(name) > _LONGEST:
            raise DeclarationError(
                f"{what} has a field {name!r}; a field is a text of at most {_LONGEST} letters, digits, '_', '.' and "
                "'-' that begins with a letter",
                place,
            )
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DeclarationError(f"{what} has the field '{twice}' twice", place)
    return names


def listed(names: Iterable[str]) -> str:
    """Names for an error message."""
    return ", ".join(f"'{name}'" for name in names) or "nothing"

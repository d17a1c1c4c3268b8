"""What an app needs to have installed where it runs.

Owns: reading requirements (the part of PEP 508 without markers and addresses) and comparing versions. Leaves to others:
installing. It checks where the component runs, so that what is missing is said by name.
"""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from importlib import metadata

from .errors import DeclarationError, RequirementsError
from .places import Place

_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*\(?([^()]*)\)?\s*")
_CLAUSE = re.compile(r"\s*(==|!=|<=|>=|<|>|~=)\s*([0-9][A-Za-z0-9.+!-]*?)(\.\*)?\s*")


@dataclass(frozen=True)
class Requirement:
    """A distribution, or `python`, and the versions of it that will do."""

    name: str
    clauses: tuple[tuple[str, str, bool], ...]
    text: str

    @classmethod
    def parse(cls, text: str, place: Place) -> Requirement:
        """Reads one as pip does: `requests>=2.31,<3`."""
        matched = _REQUIREMENT.fullmatch(text) if isinstance(text, str) else None
        parts = [] if matched is None or not matched[2].strip() else matched[2].split(",")
        clauses = [_CLAUSE.fullmatch(part) for part in parts]
        found = [(clause[1], clause[2], clause[3] is not None) for clause in clauses if clause is not None]
        if matched is None or len(found) < len(parts):
            raise DeclarationError(
                f"requirement {text!r} is not understood; write a name and versions, as in 'requests>=2.31,<3'", place
            )
        return cls(matched[1], tuple(found), text.strip())

    def missing(self) -> str | None:
        """What is wrong with what is installed here, if anything."""
        if self.name.lower() == "python":
            version = platform.python_version()
        else:
            try:
                version = metadata.version(self.name)
            except metadata.PackageNotFoundError:
                return f"'{self.text}' is not installed"
        if all(_holds(version, clause) for clause in self.clauses):
            return None
        return f"'{self.text}' is needed, and {version} is installed"


def check(requirements: list[Requirement]) -> None:
    """Says what is missing.

    Raises:
        RequirementsError: With all that is missing.
    """
    missing = [each for each in (requirement.missing() for requirement in requirements) if each is not None]
    if missing:
        raise RequirementsError(
            f"requirements of the app are missing: {'; '.join(missing)}; install them with pip, or use a worker image "
            "that has them"
        )


def _holds(version: str, clause: tuple[str, str, bool]) -> bool:
    operator, wanted, is_prefix = clause
    have, want = _key(version), _key(wanted)
    if is_prefix:
        starts = have[: len(want)] == want
        return starts if operator == "==" else not starts
    if operator == "~=":
        return _compare(have, want) >= 0 and have[: len(want) - 1] == want[:-1]
    order = _compare(have, want)
    return {
        "==": order == 0,
        "!=": order != 0,
        "<=": order <= 0,
        ">=": order >= 0,
        "<": order < 0,
        ">": order > 0,
    }[operator]


def _key(version: str) -> list[int]:
    """The numbers of a release; what comes before a release has a last part of -1."""
    release = re.match(r"(?:\d+!)?(\d+(?:\.\d+)*)", version)
    numbers = [int(part) for part in release[1].split(".")] if release else [0]
    rest = version[release.end() :] if release else ""
    if re.match(r"[-_.]?(a|b|c|rc|alpha|beta|pre|preview|dev)", rest):
        return [*numbers, -1]
    return numbers


def _compare(have: list[int], want: list[int]) -> int:
    length = max(len(have), len(want))
    padded = [each + [0] * (length - len(each)) for each in (have, want)]
    return (padded[0] > padded[1]) - (padded[0] < padded[1])

"""Requirements of an app are compared with what is installed."""

from __future__ import annotations

from importlib import metadata

import pytest

from umbrella import UmbrellaError
from umbrella.places import Place
from umbrella.requirements import Requirement, _holds, check

HERE = Place("app.py", 1)


@pytest.mark.parametrize(
    ("version", "wanted", "holds"),
    [
        ("2.31.0", ">=2.31", True),
        ("2.31", ">=2.31.0,<3", True),
        ("3.0", "<3", False),
        ("2.4.1", "~=2.2", True),
        ("3.0", "~=2.2", False),
        ("2.3.9", "~=2.3.1", True),
        ("2.4", "~=2.3.1", False),
        ("1.2.3", "==1.2.*", True),
        ("1.3", "==1.2.*", False),
        ("1.3", "!=1.2.*", True),
        ("1.10", ">1.9", True),
        ("2.0rc1", ">=2.0", False),
        ("2.0rc1", "<2.0", True),
        ("1!1.0", "==1.0", True),
        ("1.0.post1", ">=1.0", True),
    ],
)
def test_versions_are_compared_as_pip_does(version: str, wanted: str, holds: bool) -> None:
    requirement = Requirement.parse(f"x{wanted}", HERE)
    assert all(_holds(version, clause) for clause in requirement.clauses) is holds


def test_what_is_missing_is_said_by_name() -> None:
    installed = metadata.version("pytest")
    wanted = ["pytest", "python>=3.10", "pytest<1", "no-such-package[extra]>=1"]
    with pytest.raises(UmbrellaError) as raised:
        check([Requirement.parse(text, HERE) for text in wanted])
    assert raised.value.message == (
        f"requirements of the app are missing: 'pytest<1' is needed, and {installed} is installed; "
        "'no-such-package[extra]>=1' is not installed; install them with pip, or use a worker image that has them"
    )

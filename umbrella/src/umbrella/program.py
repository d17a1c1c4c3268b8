"""Finds the `waterspout` program.

Owns: where it is looked for. Order: what the command line says, the setting `UMBRELLA_WATERSPOUT`, the program in the
installed wheel, PATH.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping

from .errors import ToolError

_SETTING = "UMBRELLA_WATERSPOUT"


def find(named: str | None, environment: Mapping[str, str]) -> str:
    """The path of the program.

    Raises:
        ToolError: If there is none.
    """
    for where, path in (("--waterspout", named), (_SETTING, environment.get(_SETTING))):
        if path:
            if not (os.path.isfile(path) and os.access(path, os.X_OK)):
                raise ToolError(f"'{path}', which {where} names, is no program; give the path of `waterspout`")
            return os.path.abspath(path)
    bundled = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bin", "waterspout")
    if os.access(bundled, os.X_OK):
        return bundled
    found = shutil.which("waterspout", path=environment.get("PATH"))
    if found is None:
        raise ToolError(
            "the program `waterspout` is not found: put it into PATH, name it with --waterspout or with "
            f"{_SETTING}=/path/to/waterspout, or install the wheel that has it inside"
        )
    return found

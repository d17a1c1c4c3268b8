"""Where in the user's code something stands, so that an error can say it.

Owns: finding the user's line on the stack. Leaves to others: what is wrong there.
"""

from __future__ import annotations

import contextlib
import linecache
import os
import sys
from dataclasses import dataclass

_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file."""

    file: str
    line: int

    def __str__(self) -> str:
        relative = os.path.relpath(self.file) if os.path.isabs(self.file) else self.file
        shown = self.file if relative.startswith("..") else relative
        return f"{shown}:{self.line}"

    def source(self) -> str:
        """The text of the line, or nothing if there is no such file."""
        return linecache.getline(self.file, self.line).strip()


def caller() -> Place:
    """The line outside of this package that is being executed."""
    frame = sys._getframe(1)
    while frame.f_back is not None and _is_inside(frame.f_code.co_filename):
        frame = frame.f_back
    return Place(frame.f_code.co_filename, frame.f_lineno)


def _is_inside(file: str) -> bool:
    # `<frozen abc>` and the like are the interpreter's own.
    return file.startswith((_HERE, "<frozen ")) or file == contextlib.__file__

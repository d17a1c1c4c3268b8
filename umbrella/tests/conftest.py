"""What several tests use."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from umbrella.load import App, load

_NUMBERS = itertools.count()

Loader = Callable[[str], App]


@pytest.fixture
def app(tmp_path: Path) -> Loader:
    """Loads an app from its text, which may leave the imports out."""

    def make(text: str) -> App:
        path = tmp_path / f"app_{next(_NUMBERS)}.py"
        path.write_text("from umbrella import *\n" + textwrap.dedent(text), encoding="utf-8")
        return load(str(path))

    return make

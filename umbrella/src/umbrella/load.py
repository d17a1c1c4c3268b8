"""Loading an app: the Python file that holds topologies.

Owns: how a file is imported, and which topology of it is meant. Leaves to others: what is wrong in it.
"""

from __future__ import annotations

import importlib
import os
import sys
from dataclasses import dataclass
from types import ModuleType

from .errors import UmbrellaError
from .names import listed
from .topology import Topology


@dataclass(frozen=True)
class App:
    """A loaded app and the topology of it that is meant."""

    #: The folder that its modules are imported from.
    root: str
    #: The name that its module is imported by.
    module: str
    file: str
    topology: type[Topology]


def load(path: str, name: str | None = None) -> App:
    """Loads a file, or FILE:TOPOLOGY.

    Raises:
        UmbrellaError: If there is no such file or no such topology.
    """
    if name is None and not os.path.exists(path) and ":" in path:
        path, name = path.rsplit(":", 1)
    file = os.path.abspath(path)
    if not os.path.isfile(file) or not file.endswith(".py"):
        raise UmbrellaError(f"'{path}' is no Python file; give the file that defines the topology, as in `app.py`")
    root, module = _module_of(file)
    loaded = import_module(root, module)
    if os.path.abspath(loaded.__file__ or "") != file:
        raise UmbrellaError(
            f"'{path}' is imported as '{module}', and so is '{loaded.__file__}'; give the file another name"
        )
    found = topologies_of(loaded)
    if name is None and len(found) != 1:
        if not found:
            raise UmbrellaError(f"'{path}' has no topology; write a class that derives from `Topology`")
        raise UmbrellaError(
            f"'{path}' has several topologies: {listed(found)}; say which: `{path}:{next(iter(found))}`"
        )
    return App(root, module, file, topology_of(loaded, name or next(iter(found))))


def app_of(topology: type[Topology]) -> App:
    """The app that a topology was loaded from."""
    module = sys.modules[topology.__module__]
    file = os.path.abspath(module.__file__ or "")
    root, name = _module_of(file)
    return App(root, name, file, topology)


def _module_of(file: str) -> tuple[str, str]:
    """The folder and the name to import a file by: a file of a package is a part of it."""
    root, base = os.path.split(file)
    name = base.removesuffix(".py")
    while os.path.exists(os.path.join(root, "__init__.py")):
        root, package = os.path.split(root)
        name = f"{package}.{name}"
    return root, name


def import_module(root: str, module: str) -> ModuleType:
    """Imports a module from a folder, which stays on the path for what it imports."""
    if root not in sys.path:
        sys.path.insert(0, root)
    return importlib.import_module(module)


def topologies_of(module: ModuleType) -> dict[str, type[Topology]]:
    """The topologies that a module defines."""
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, Topology)
        and value._components
        and value.__module__ == module.__name__
    }


def topology_of(module: ModuleType, name: str) -> type[Topology]:
    """The topology of a module with this name."""
    found = topologies_of(module)
    if name not in found:
        raise UmbrellaError(f"'{module.__file__}' has no topology '{name}'; it has {listed(found)}")
    return found[name]

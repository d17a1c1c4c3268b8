"""The code of an app as a ConfigMap.

Owns: which files belong to it, and their form: modules beside the app as texts, packages and this library in one
archive. Invariant: the name follows from the content, so that other code is another ConfigMap and the same is the same.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import sys
import zipfile
from typing import Any

from .errors import UmbrellaError
from .load import App

#: The label of what `umbrella deploy` makes, with the topology's name.
LABEL = "umbrella.waterspout.dev/topology"
#: The key of the script that starts a component.
ENTRY = "umbrella_entry.py"
#: The key of the archive.
ARCHIVE = "umbrella_code.zip"
#: Kubernetes takes 1 MiB with everything.
_MOST_BYTES = 1_000_000
# Not needed where a component runs.
_NOT_NEEDED = {"__main__.py", "_script.py", "bundle.py", "cli.py", "kubectl.py", "program.py", "testing.py", "yaml.py"}


def config_map(app: App) -> dict[str, Any]:
    """The ConfigMap of an app's code."""
    data: dict[str, str] = {}
    archived: dict[str, bytes] = {}
    for path in files_of(app):
        relative = os.path.relpath(path, app.root)
        with open(path, "rb") as file:
            content = file.read()
        if os.sep in relative:
            archived[relative.replace(os.sep, "/")] = content
        else:
            try:
                data[relative] = content.decode("utf-8")
            except UnicodeDecodeError:
                raise UmbrellaError(f"'{path}' is not UTF-8; save it as UTF-8") from None
    here = os.path.dirname(os.path.abspath(__file__))
    for name in sorted(os.listdir(here)):
        if name.endswith(".py") and name not in _NOT_NEEDED:
            with open(os.path.join(here, name), "rb") as file:
                archived[f"umbrella/{name}"] = file.read()
    data[ENTRY] = _entry(app)
    archive = base64.b64encode(_zip(archived)).decode("ascii")
    size = len(archive) + sum(len(text.encode()) for text in data.values())
    if size > _MOST_BYTES:
        largest = max(data, key=lambda name: len(data[name]))
        raise UmbrellaError(
            f"the code of '{app.topology.name}' has {size} bytes, and a ConfigMap takes {_MOST_BYTES}; the largest "
            f"file is '{largest}'; put what is large into a worker image"
        )
    digest = hashlib.sha256()
    for name, text in sorted({**data, ARCHIVE: archive}.items()):
        digest.update(f"{name}\0{len(text.encode())}\0{text}".encode())
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": f"{app.topology.name}-code-{digest.hexdigest()[:10]}",
            "labels": {"app.kubernetes.io/managed-by": "umbrella", LABEL: app.topology.name},
        },
        "immutable": True,
        "data": data,
        "binaryData": {ARCHIVE: archive},
    }


def files_of(app: App) -> list[str]:
    """The app's file and what it imported from its folder."""
    here = os.path.dirname(os.path.abspath(__file__)) + os.sep
    found = {app.file}
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or not file.endswith(".py"):
            continue
        file = os.path.abspath(file)
        is_installed = "site-packages" in file or file.startswith((here, sys.base_prefix + os.sep, sys.prefix + os.sep))
        if file.startswith(app.root + os.sep) and not is_installed:
            found.add(file)
    return sorted(found)


def _entry(app: App) -> str:
    return (
        "# Starts a component of the app: written by `umbrella`.\n"
        "import os\n"
        "import sys\n"
        "\n"
        "here = os.path.dirname(os.path.abspath(__file__))\n"
        f"sys.path[:0] = [here, os.path.join(here, {ARCHIVE!r})]\n"
        "\n"
        "from umbrella.host import entry  # noqa: E402\n"
        "\n"
        f"make = entry(here, {app.module!r}, {app.topology.__name__!r})\n"
    )


def _zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(files.items()):
            # The same content gives the same archive.
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()

"""The code of an app as a ConfigMap, and the manifest with it."""

from __future__ import annotations

import base64
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from umbrella import UmbrellaError, bundle, load, manifest, yaml

APP = """
from umbrella import *
import helper
from parts.words import cut

@bolt("word")
def split(input):
    yield from cut(input.line)

class Words(Topology):
    workers = 2
    image = "registry.example/words:1"
    delivery = Delivery(timeout="10s", max_pending=100)
    lines = FileSpout(path="text/*")
    split_up = split(2, inputs=LocalOrShuffleGrouping(lines))
    out = StdoutBolt(inputs=PartialKeyGrouping(split_up, "word"), format="Json")
    lost = FileBolt(directory="dead", inputs=lines.DeadLetters)
"""


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> load.App:
    """An app of several files."""
    name = f"app_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(APP)
    (tmp_path / "helper.py").write_text("x = 1\n")
    (tmp_path / "unused.py").write_text("x = 1\n")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "__init__.py").write_text("")
    (tmp_path / "parts" / "words.py").write_text("def cut(line):\n    return line.split()\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    for module in ("helper", "parts", "parts.words"):
        sys.modules.pop(module, None)
    return load.load(str(tmp_path / f"{name}.py"))


def test_the_code_is_what_the_app_imports_from_its_folder(app: load.App) -> None:
    code = bundle.config_map(app)
    assert set(code["data"]) == {Path(app.file).name, "helper.py", bundle.ENTRY}
    assert code["data"]["helper.py"] == "x = 1\n"
    archive = zipfile.ZipFile(io.BytesIO(base64.b64decode(code["binaryData"][bundle.ARCHIVE])))
    names = set(archive.namelist())
    assert {"parts/__init__.py", "parts/words.py", "umbrella/__init__.py", "umbrella/host.py"} <= names
    assert not names & {"umbrella/cli.py", "umbrella/testing.py"}
    assert code["immutable"] is True


def test_its_name_follows_from_its_content(app: load.App) -> None:
    name = bundle.config_map(app)["metadata"]["name"]
    assert bundle.config_map(app)["metadata"]["name"] == name
    assert name.startswith("words-code-")
    (Path(app.root) / "helper.py").write_text("x = 2\n")
    assert bundle.config_map(app)["metadata"]["name"] != name


def test_code_that_a_config_map_cannot_hold_is_refused(app: load.App) -> None:
    (Path(app.root) / "helper.py").write_text(f"x = '{'x' * 1_100_000}'\n")
    with pytest.raises(UmbrellaError, match=r"the largest file is 'helper\.py'"):
        bundle.config_map(app)


def test_the_code_runs_from_the_config_map_alone(app: load.App, tmp_path: Path) -> None:
    code = bundle.config_map(app)
    folder = tmp_path / "pod"
    folder.mkdir()
    for name, text in code["data"].items():
        (folder / name).write_text(text)
    (folder / bundle.ARCHIVE).write_bytes(base64.b64decode(code["binaryData"][bundle.ARCHIVE]))
    script = (
        "import runpy, sys; made = runpy.run_path(sys.argv[1])['make']; import umbrella;"
        "from types import SimpleNamespace as N; o = N(stream='default', direct=False);"
        "i = N(fields=['line'], component='lines', stream='default');"
        "host = made(N(component='split-up', inputs=[i], outputs=[o]));"
        "print(type(host).__name__, umbrella.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", script, str(folder / bundle.ENTRY)], capture_output=True, text=True, cwd="/"
    )
    assert done.stdout.startswith("BoltHost "), done.stderr
    assert bundle.ARCHIVE in done.stdout


def test_the_manifest_says_what_the_app_says(app: load.App) -> None:
    code, topology = manifest.portable(app)
    script = f"{{name: {code['metadata']['name']}, key: umbrella_entry.py}}"
    assert (
        yaml.document(topology)
        == f"""\
apiVersion: waterspout.dev/v1alpha1
kind: Topology
metadata: {{name: words}}
spec:
  workers: {{replicas: 2, image: "registry.example/words:1"}}
  delivery: {{timeout: "10s", maxPending: 100}}
  spouts:
  - name: lines
    file: {{path: "text/*"}}
    streams:
    - {{fields: [line]}}
  bolts:
  - name: split-up
    replicas: 2
    inputs:
    - {{from: lines, localOrShuffle: {{}}}}
    script:
      configMap: {script}
    streams:
    - {{fields: [word]}}
  - name: out
    inputs:
    - {{from: split-up, partialKey: [word]}}
    stdout: {{format: Json}}
  - name: lost
    inputs:
    - {{from: lines, stream: dead-letters}}
    file: {{directory: dead}}
"""
    )

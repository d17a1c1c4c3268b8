"""The command `umbrella`."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml as reader

APP = """
from umbrella import *

@bolt("word count")
def tally(input):
    yield input.word, 1

class Words(Topology):
    lines = FileSpout(path="text/*")
    words = SplitBolt(inputs=lines)
    tallies = tally(inputs=words)
    out = StdoutBolt(inputs=tallies)
"""


def umbrella(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "umbrella", *arguments]
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an app."""
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("one two\ntwo\n")
    return tmp_path


def test_run_runs_the_app_from_any_folder(folder: Path) -> None:
    done = umbrella("run", str(folder / "app.py"), "--", "--quiet", cwd=Path("/"))
    assert (done.returncode, sorted(done.stdout.splitlines()), done.stderr) == (0, ["one\t1", "two\t1", "two\t1"], "")


def test_what_follows_the_dashes_goes_to_waterspout(folder: Path) -> None:
    done = umbrella("run", "app.py", "--", "--workers", "2", "--output", "json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert {"word": "one", "count": 1} in [json.loads(line) for line in done.stdout.splitlines()]


def test_yaml_is_a_manifest_that_waterspout_takes(folder: Path) -> None:
    shown = umbrella("yaml", "app.py", cwd=folder)
    code, topology = reader.safe_load_all(shown.stdout)
    assert (code["kind"], topology["kind"]) == ("ConfigMap", "Topology")
    program = os.environ["UMBRELLA_WATERSPOUT"]
    checked = subprocess.run([program, "validate", "-"], input=shown.stdout, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


def test_what_yaml_prints_runs_with_its_code_from_the_config_map(folder: Path) -> None:
    shown = umbrella("yaml", "app.py", cwd=folder)
    program = os.environ["UMBRELLA_WATERSPOUT"]
    (folder / "app.py").unlink()
    done = subprocess.run(
        [program, "run", "-", "--quiet"], input=shown.stdout, capture_output=True, text=True, cwd=folder, timeout=60
    )
    assert (done.returncode, sorted(done.stdout.splitlines())) == (0, ["one\t1", "two\t1", "two\t1"]), done.stderr


def test_an_error_stands_at_the_users_line(folder: Path) -> None:
    (folder / "app.py").write_text(APP.replace("input.word, 1", "input.wrod, 1"))
    done = umbrella("yaml", "app.py", cwd=folder)
    assert done.returncode == 1
    assert done.stderr == (
        "app.py:6: error: 'tallies' reads the field 'wrod', which its input does not have; it has 'word'\n"
        "    yield input.wrod, 1\n"
    )


def test_an_app_that_cannot_be_imported_is_shown_with_its_lines_only(folder: Path) -> None:
    (folder / "app.py").write_text("import nothing_like_this\n")
    done = umbrella("yaml", "app.py", cwd=folder)
    assert done.returncode == 1
    assert done.stderr.startswith("error: the app cannot be imported\n")
    assert "No module named 'nothing_like_this'" in done.stderr
    assert "importlib" not in done.stderr
    (folder / "app.py").write_text("class A(:\n")
    assert "app.py:1: error: invalid syntax" in umbrella("yaml", "app.py", cwd=folder).stderr


@pytest.mark.parametrize("path", ["nothing.py", "text", "text/a.txt"])
def test_what_is_no_app_is_refused(folder: Path, path: str) -> None:
    done = umbrella("run", path, cwd=folder)
    assert (done.returncode, done.stderr) == (
        1,
        f"error: '{path}' is no Python file; give the file that defines the topology, as in `app.py`\n",
    )


def test_without_the_program_run_says_where_it_looks(folder: Path) -> None:
    done = umbrella("run", "app.py", cwd=folder, UMBRELLA_WATERSPOUT="", PATH="/nowhere")
    assert "the program `waterspout` is not found: put it into PATH" in done.stderr
    done = umbrella("run", "app.py", cwd=folder, UMBRELLA_WATERSPOUT="/nowhere/waterspout")
    assert "'/nowhere/waterspout', which UMBRELLA_WATERSPOUT names, is no program" in done.stderr


def test_missing_requirements_end_the_run_and_are_named(folder: Path) -> None:
    with_requirement = APP.replace(
        "class Words(Topology):", "class Words(Topology):\n    requirements = ['no-such-thing>=2']"
    )
    (folder / "app.py").write_text(with_requirement)
    done = umbrella("run", "app.py", cwd=folder)
    assert done.returncode == 1
    assert "requirements of the app are missing: 'no-such-thing>=2' is not installed" in done.stderr


KUBECTL = """#!{python}
# Writes down how it is called, and answers as kubectl does.
import json, os, sys
with open({log!r}, "a") as log:
    stdin = sys.stdin.read() if "-f" in sys.argv and "-" in sys.argv else ""
    log.write(json.dumps([sys.argv[1:], stdin]) + "\\n")
if "get" in sys.argv:
    names = [f"words-code-{{n}}" for n in range(1, 9)]
    items = [{{"metadata": {{"name": name, "creationTimestamp": f"2026-01-0{{name[-1]}}"}}}} for name in names]
    print(json.dumps({{"items": items}}))
elif "fail" in sys.argv:
    sys.exit("the server is away")
else:
    print("done:", sys.argv[-2])
"""


@pytest.fixture
def kubectl(folder: Path) -> Path:
    """A program in the place of kubectl, since what is tested is how it is called."""
    path = folder / "bin" / "kubectl"
    path.parent.mkdir()
    path.write_text(KUBECTL.format(python=sys.executable, log=str(folder / "calls")))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path.parent


def calls(folder: Path) -> list[tuple[list[str], str]]:
    return [(call, stdin) for call, stdin in map(json.loads, (folder / "calls").read_text().splitlines())]


def test_deploy_applies_code_and_topology_and_removes_code_that_is_too_old(folder: Path, kubectl: Path) -> None:
    done = umbrella("deploy", "app.py", "-n", "shop", cwd=folder, PATH=f"{kubectl}:{os.environ['PATH']}")
    assert done.returncode == 0, done.stderr
    _, (apply, stdin), _, (delete, _) = calls(folder)
    assert apply == ["-n", "shop", "apply", "-f", "-"]
    code, topology = reader.safe_load_all(stdin)
    key = topology["spec"]["bolts"][1]["script"]["configMap"]
    assert key == {"name": code["metadata"]["name"], "key": "umbrella_entry.py"}
    assert delete == ["-n", "shop", "delete", "configmaps", "words-code-3", "words-code-2", "words-code-1"]
    assert "look at it with `kubectl get topology words` and `umbrella logs words`" in done.stdout


def test_a_dry_run_changes_nothing(folder: Path, kubectl: Path) -> None:
    umbrella("deploy", "app.py", "--dry-run", cwd=folder, PATH=f"{kubectl}:{os.environ['PATH']}")
    assert calls(folder)[-1][0] == ["apply", "-f", "-", "--dry-run=server"]


def test_logs_and_delete_take_an_app_or_a_name(folder: Path, kubectl: Path) -> None:
    path = f"{kubectl}:{os.environ['PATH']}"
    umbrella("logs", "app.py", "-f", "--tail", "5", cwd=folder, PATH=path)
    umbrella("delete", "words", "--context", "kind", cwd=folder, PATH=path)
    logs, topology, code = [call for call, _ in calls(folder)]
    labels = ["-l", "waterspout.dev/topology=words"]
    assert logs == ["logs", *labels, "--prefix", "--max-log-requests=64", "--follow", "--tail=5"]
    assert topology == ["--context", "kind", "delete", "topology", "words", "--ignore-not-found"]
    assert code == ["--context", "kind", "delete", "configmaps", "-l", "umbrella.waterspout.dev/topology=words"]


def test_without_kubectl_or_with_one_that_fails_the_reason_is_said(folder: Path, kubectl: Path) -> None:
    done = umbrella("deploy", "app.py", cwd=folder, PATH="/nowhere")
    assert done.stderr == "error: the program `kubectl` is not found; install it, or put its folder into PATH\n"
    done = umbrella("deploy", "app.py", "--context", "fail", cwd=folder, PATH=f"{kubectl}:{os.environ['PATH']}")
    assert done.returncode == 1
    assert "the server is away" in done.stderr

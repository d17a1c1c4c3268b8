"""Umbrella's work on a cluster, which `kubectl` does.

Owns: what is applied, shown and removed, and saying it. Leaves to others: the cluster that is meant, which is that of
kubectl's current context, or of the flags that are passed on to it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import bundle, yaml
from .errors import ToolError

#: So many ConfigMaps with earlier code of a topology are kept: revisions to roll back to use them.
_KEPT = 5


@dataclass(frozen=True)
class Cluster:
    """How kubectl is called, and who hears what is done."""

    flags: Sequence[str]
    environment: Mapping[str, str]
    say: Callable[[str], None]

    def deploy(self, documents: list[dict[str, Any]], *, dry_run: bool) -> None:
        """Applies the code and then the topology, and removes code that is too old to be rolled back to."""
        code, topology = documents
        name = topology["metadata"]["name"]
        where = self._run(["config", "current-context"], check=False).strip()
        if where:
            self.say(f"context '{where}'")
        apply = ["apply", "-f", "-", *(["--dry-run=server"] if dry_run else [])]
        self.say(self._run(apply, input=yaml.documents(documents)).strip())
        if not dry_run:
            self._prune(name, code["metadata"]["name"])
            self.say(f"look at it with `kubectl get topology {name}` and `umbrella logs {name}`")

    def _prune(self, name: str, current: str) -> None:
        labelled = ["get", "configmaps", "-l", f"{bundle.LABEL}={name}", "-o", "json"]
        found = json.loads(self._run(labelled))["items"]
        older = sorted(found, key=lambda each: str(each["metadata"]["creationTimestamp"]), reverse=True)
        names = [each["metadata"]["name"] for each in older if each["metadata"]["name"] != current]
        if names[_KEPT:]:
            self.say(self._run(["delete", "configmaps", *names[_KEPT:]]).strip())

    def logs(self, name: str, *, follow: bool, lines: int | None) -> int:
        """Shows what the workers of a topology log."""
        command = ["logs", "-l", f"waterspout.dev/topology={name}", "--prefix", "--max-log-requests=64"]
        command += ["--follow"] if follow else []
        command += [f"--tail={-1 if lines is None else lines}"]
        return subprocess.run([self._kubectl(), *self.flags, *command], env=dict(self.environment)).returncode

    def delete(self, name: str) -> None:
        """Removes a topology and its code."""
        self.say(self._run(["delete", "topology", name, "--ignore-not-found"]).strip() or f"no topology '{name}'")
        removed = self._run(["delete", "configmaps", "-l", f"{bundle.LABEL}={name}"]).strip()
        self.say(removed)

    def _kubectl(self) -> str:
        found = shutil.which("kubectl", path=self.environment.get("PATH"))
        if found is None:
            raise ToolError("the program `kubectl` is not found; install it, or put its folder into PATH")
        return found

    def _run(self, command: list[str], *, input: str | None = None, check: bool = True) -> str:
        done = subprocess.run(
            [self._kubectl(), *self.flags, *command],
            env=dict(self.environment),
            input=input,
            capture_output=True,
            text=True,
        )
        if check and done.returncode != 0:
            raise ToolError(f"`kubectl {' '.join(command)}` failed: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

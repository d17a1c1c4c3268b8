"""The manifest of a topology.

Owns: how components become the resource `Topology`. Leaves to others: its text (`yaml`), what a cluster makes of it.
"""

from __future__ import annotations

import sys
from typing import Any

from . import bundle
from .components import Bolt, Component, Spout
from .load import App
from .topology import Topology


def local(app: App) -> list[dict[str, Any]]:
    """The manifest of a run here: components run with this Python, from the app's own files."""
    argv = [sys.executable, "-m", "umbrella.host", app.root, app.module, app.topology.__name__]
    return [_topology(app.topology, {"command": {"argv": argv}})]


def portable(app: App) -> list[dict[str, Any]]:
    """The manifest that runs anywhere: the code in a ConfigMap, and the topology."""
    code = bundle.config_map(app)
    script = {"configMap": {"name": code["metadata"]["name"], "key": bundle.ENTRY}}
    return [code, _topology(app.topology, {"script": script})]


def _topology(topology: type[Topology], runs: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = {}
    delivery = {
        "mode": topology.delivery.mode,
        "timeout": topology.delivery.timeout,
        "maxPending": topology.delivery.max_pending,
        "maxAttempts": topology.delivery.max_attempts,
        "drainTimeout": topology.delivery.drain_timeout,
    }
    workers = {"replicas": topology.workers if topology.workers != 1 else None, "image": topology.image}
    for key, settings in {"workers": workers, "delivery": delivery}.items():
        given = {name: value for name, value in settings.items() if value is not None}
        if given:
            spec[key] = given
    components = topology._components.values()
    spec["spouts"] = [_component(each, runs) for each in components if isinstance(each, Spout)]
    bolts = [_component(each, runs) for each in components if isinstance(each, Bolt)]
    if bolts:
        spec["bolts"] = bolts
    return {
        "apiVersion": "waterspout.dev/v1alpha1",
        "kind": "Topology",
        "metadata": {"name": topology.name},
        "spec": spec,
    }


def _component(component: Component, runs: dict[str, Any]) -> dict[str, Any]:
    written: dict[str, Any] = {"name": component.name}
    if component.tasks != 1:
        written["replicas"] = component.tasks
    if isinstance(component, Bolt):
        if component.tick_every is not None:
            written["tickEvery"] = component.tick_every
        written["inputs"] = [
            {
                "from": grouping.component.name,
                **({} if grouping.stream == "default" else {"stream": grouping.stream}),
                **grouping.manifest(),
            }
            for grouping in component.inputs
        ]
    settings = component.manifest()
    if not settings:
        (kind, common), *_ = runs.items()
        settings = {kind: {**common, **component.limits.manifest()}}
    written.update(settings)
    streams = [
        {
            **({} if name == "default" else {"name": name}),
            "fields": list(stream.names),
            **({"direct": True} if getattr(stream, "direct", False) else {}),
        }
        for name, stream in component.streams().items()
        if name != "dead-letters"
    ]
    if streams:
        written["streams"] = streams
    return written

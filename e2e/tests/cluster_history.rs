//! What is over goes: a topology after its time, revisions beyond those that are remembered.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use waterspout_e2e::cluster::{Cluster, Namespace, PATIENCE};
use waterspout_e2e::wait_for;

/// A topology with settings of its spec, whose spout makes so many numbers.
fn manifest(name: &str, settings: &str, count: u32) -> String {
    format!(
        "
apiVersion: waterspout.dev/v1alpha1
kind: Topology
metadata: {{name: {name}}}
spec:
{settings}
  spouts:
  - name: numbers
    generator: {{count: {count}, shape: {{sequence: {{}}}}}}
    streams: [{{fields: [number]}}]
  bolts:
  - name: out
    inputs: [{{from: numbers}}]
    stdout: {{}}
"
    )
}

#[test]
fn a_topology_with_a_time_to_live_is_deleted_when_it_is_complete() {
    let cluster = Cluster::lock();
    let namespace = cluster.namespace("time-to-live");
    namespace.apply(&manifest("brief", "  completion: {ttl: 0s}", 10));
    wait_for("the topology to be gone", PATIENCE, || {
        namespace.get(&["topology", "brief"]).is_none().then_some(())
    });
    wait_for("its pods to be gone", PATIENCE, || {
        namespace.pods("brief").is_empty().then_some(())
    });
}

/// The names of the revisions that are remembered.
fn remembered(namespace: &Namespace) -> Vec<String> {
    let label = "waterspout.dev/topology=often,app.kubernetes.io/managed-by=waterspout-operator";
    let entries = namespace.kubectl(&["get", "controllerrevisions", "-l", label, "-o", "name"]);
    entries.lines().map(str::to_owned).collect()
}

#[test]
fn revisions_beyond_those_that_are_remembered_are_forgotten() {
    let cluster = Cluster::lock();
    let namespace = cluster.namespace("history");
    // No node has the image, so that each takes the place of the one before at once.
    let settings = "  revisionHistoryLimit: 0\n  workers: {image: 'waterspout.local/nowhere:1'}";
    let mut first = None;
    let mut running = String::new();
    for count in [10, 20, 30] {
        namespace.apply(&manifest("often", settings, count));
        running = namespace.wait("often", "another revision", |topology| {
            let current = topology["status"]["revision"]["current"].as_str()?;
            (current != running).then(|| current.to_owned())
        });
        first.get_or_insert_with(|| running.clone());
    }
    let first = format!("controllerrevision.apps/{}", first.unwrap());
    wait_for("the first revision to be forgotten", PATIENCE, || {
        let all = remembered(&namespace);
        (!all.contains(&first) && !all.is_empty()).then_some(())
    });
}

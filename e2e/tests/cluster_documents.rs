//! Every command of the pages on clusters is run, in their order, on a cluster without Waterspout. Then the chart: an upgrade
//! while a topology runs, and an end without the operator.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use waterspout_e2e::cluster::{Cluster, PATIENCE, SYSTEM};
use waterspout_e2e::{IDLE, repository, wait_for, waterspout};

/// The blocks of commands of a page.
fn blocks(page: &str) -> Vec<String> {
    let text = std::fs::read_to_string(repository().join(page)).unwrap();
    let blocks = text.split("```sh\n").skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap().to_owned())
        .collect()
}

fn remove_all(cluster: &Cluster) {
    cluster.try_helm(["uninstall", "waterspout", "-n", SYSTEM, "--wait"]);
    let crd = "topologies.waterspout.dev";
    cluster.kubectl(["delete", "crd", crd, "--ignore-not-found", "--timeout=120s"]);
    cluster.kubectl(["delete", "clusterrole", "waterspout-worker", "--ignore-not-found"]);
    cluster.kubectl([
        "delete",
        "namespace",
        SYSTEM,
        "--ignore-not-found",
        "--timeout=120s",
    ]);
}

#[test]
fn the_commands_of_the_pages_on_clusters_work_in_their_order() {
    let cluster = Cluster::lock_bare();
    remove_all(&cluster);
    let pages = ["docs/install.md", "docs/operations.md"];
    let commands: Vec<String> = pages.iter().flat_map(|page| blocks(page)).collect();
    assert!(commands.len() >= 12, "{commands:#?}");
    let programs = waterspout().parent().unwrap().display().to_string();
    for block in commands {
        let output = cluster
            .command(Path::new("bash"))
            .args([
                "-euo",
                "pipefail",
                "-c",
                &format!("export PATH=\"$PATH:{programs}\"; {block}"),
            ])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{block}{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let crds = cluster.kubectl(["get", "crds", "-o", "name"]);
    assert!(!crds.contains("waterspout"), "{crds}");
}

/// The chart of before there were several operators. The operator is that of this checkout, and so are its rights and the
/// resource that it writes.
fn chart_with_one_operator() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let archive = repository().join("e2e/charts/one-operator.tgz");
    let unpacked = Command::new("tar")
        .args([Path::new("-xzf"), &archive, Path::new("-C"), directory.path()])
        .status();
    assert!(unpacked.unwrap().success());
    for file in ["files/operator-rules.yaml", "templates/crd.yaml"] {
        let ours = repository().join("charts/waterspout").join(file);
        std::fs::copy(ours, directory.path().join("waterspout").join(file)).unwrap();
    }
    directory
}

#[test]
fn an_upgrade_from_the_chart_with_one_operator_restarts_no_topology() {
    let cluster = Cluster::lock_bare();
    remove_all(&cluster);
    let chart = chart_with_one_operator();
    let chart = chart.path().join("waterspout").display().to_string();
    let args = ["-n", SYSTEM, "--create-namespace", "--wait", "--timeout", "120s"];
    cluster.helm([&["install", "waterspout", chart.as_str()], &args[..]].concat());
    let namespace = cluster.namespace("upgrade-chart");
    namespace.apply(IDLE);
    namespace.wait_ready("idle", 2);
    let lives = || {
        let pods = namespace.pods("idle").into_iter();
        let life = |pod: Value| {
            let starts = pod["status"]["containerStatuses"][0]["restartCount"].clone();
            (pod["metadata"]["uid"].clone(), starts)
        };
        pods.map(life).collect::<Vec<_>>()
    };
    let before = lives();
    cluster.install(&[]);
    cluster.leader();
    namespace.kubectl(&["scale", "topology", "idle", "--replicas=3"]);
    namespace.wait_ready("idle", 3);
    let after = lives();
    assert!(
        before.iter().all(|life| after.contains(life)),
        "{before:?} {after:?}"
    );
    // Workers of the chart before talk without TLS, and so does one that comes to them. The next revision talks TLS.
    let secret = || namespace.get(&["secret", "idle-worker-tls"]);
    assert_eq!(secret(), None);
    let current = |topology: &Value| {
        topology["status"]["revision"]["current"]
            .as_str()
            .map(str::to_owned)
    };
    let old = current(&namespace.get(&["topology", "idle"]).unwrap());
    let next = r#"{"spec": {"release": {"probation": "1s"}, "spouts": [{"name": "numbers",
        "generator": {"rate": 20, "shape": {"sequence": {}}}, "streams": [{"fields": ["number"]}]}]}}"#;
    namespace.kubectl(&["patch", "topology", "idle", "--type=merge", "-p", next]);
    namespace.wait("idle", "the end of the release", |topology| {
        let is_over = topology["status"]["release"].is_null() && current(topology) != old;
        is_over.then_some(())
    });
    namespace.wait_ready("idle", 3);
    assert!(secret().is_some());
    wait_for("the pods of the revision before to go", PATIENCE, || {
        (namespace.pods("idle").len() == 3).then_some(())
    });
    let log = namespace.logs("idle");
    assert!(log.contains("takes over from another revision"), "{log}");
    assert!(!log.contains("is not to be had"), "{log}");
    cluster.helm(["test", "waterspout", "-n", SYSTEM]);
}

#[test]
fn an_upgrade_restarts_no_topology_and_a_namespace_goes_without_the_operator() {
    let cluster = Cluster::lock();
    let namespace = cluster.namespace("upgrade");
    namespace.apply(IDLE);
    namespace.wait_ready("idle", 2);
    let pod = namespace.pods("idle").remove(0)["metadata"]["uid"].clone();
    // Another image for new revisions is what an upgrade brings.
    cluster.install(&[
        "--set",
        "worker.image.tag=next",
        "--set",
        "podAnnotations.upgrade=one",
    ]);
    namespace.kubectl(&["label", "topology", "idle", "look=again"]);
    namespace.kubectl(&["scale", "topology", "idle", "--replicas=3"]);
    namespace.wait_ready("idle", 3);
    let pods = namespace.pods("idle");
    assert!(
        pods.iter().any(|found| found["metadata"]["uid"] == pod),
        "{pods:#?}"
    );

    cluster.helm(["uninstall", "waterspout", "-n", SYSTEM, "--wait"]);
    // What belongs to the users stays, and runs.
    assert_eq!(namespace.pods("idle").len(), 3);
    namespace.kubectl(&["get", "topology", "idle"]);
    let name = namespace.name().to_owned();
    cluster.kubectl(["delete", "namespace", &name, "--timeout=120s"]);
    cluster.install(&[]);
    cluster.leader();
}

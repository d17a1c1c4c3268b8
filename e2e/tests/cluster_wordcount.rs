//! The word count on a cluster: the right counts, complete for good, and objects that are as they should be.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use waterspout_e2e::cluster::{Cluster, Namespace, PATIENCE, is};
use waterspout_e2e::{IDLE, printed_counts, sample_counts, wait_for};

const MANIFEST: &str = "examples/wordcount/topology.yaml";
const OPERATOR: &str = "system:serviceaccount:waterspout-system:waterspout-operator";

fn uids(namespace: &Namespace, topology: &str) -> Vec<Value> {
    let pods = namespace.pods(topology);
    pods.iter().map(|pod| pod["metadata"]["uid"].clone()).collect()
}

#[test]
fn counts_are_right_and_a_topology_that_is_complete_stays_so() {
    let cluster = Cluster::lock();
    let words = cluster.namespace("words");
    let other = cluster.namespace("words-too");
    for namespace in [&words, &other] {
        namespace.kubectl(&["apply", "-f", MANIFEST]);
    }
    for namespace in [&words, &other] {
        namespace.kubectl(&[
            "wait",
            "--for=condition=Complete",
            "topology/wordcount",
            "--timeout=120s",
        ]);
        assert_eq!(printed_counts(&namespace.logs("wordcount")), sample_counts());
    }
    let columns = words.kubectl(&["get", "topo"]);
    let heads: Vec<&str> = columns.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(heads, ["NAME", "STATE", "READY", "WORKERS", "AGE"]);
    let row: Vec<&str> = columns.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..2], ["wordcount", "Complete"]);
    let events = words.kubectl(&["events", "--for", "topology/wordcount"]);
    assert!(events.contains("AllProcessed"), "{events}");

    let before = uids(&words, "wordcount");
    words.kubectl(&["delete", "pods", "-l", "waterspout.dev/topology=wordcount"]);
    words.wait("wordcount", "new pods that are ready", |topology| {
        let pods = words.pods("wordcount");
        let is_new = |pod: &Value| !before.contains(&pod["metadata"]["uid"]);
        let is_ready = topology["status"]["readyReplicas"] == topology["spec"]["workers"]["replicas"];
        (is_ready && pods.len() == before.len() && pods.iter().all(is_new)).then_some(())
    });
    let topology = words.get(&["topology", "wordcount"]).unwrap();
    assert!(is(&topology, "Complete", "True"), "{topology:#}");
    assert_eq!(topology["status"]["state"], "Complete");
    assert_eq!(printed_counts(&words.logs("wordcount")), BTreeMap::new());
}

/// How often the operator has looked after a topology.
fn looks(cluster: &Cluster) -> u64 {
    let metrics = cluster.operator_metrics();
    let counts = metrics
        .lines()
        .filter(|line| line.starts_with("waterspout_operator_reconciles_total"));
    counts
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

#[test]
fn a_topology_that_is_as_it_should_be_is_not_written() {
    let cluster = Cluster::lock();
    let namespace = cluster.namespace("unchanged");
    namespace.apply(IDLE);
    namespace.wait_ready("idle", 2);
    wait_for("the operator to have nothing to write", PATIENCE, || {
        let audit = cluster.audit();
        let before = looks(&cluster);
        for number in 0..5 {
            let label = format!("look={number}");
            namespace.kubectl(&["label", "topology", "idle", "--overwrite", &label]);
            // Each label makes the operator look again.
            wait_for("a look at the topology", PATIENCE, || {
                (looks(&cluster) > before + number).then_some(())
            });
        }
        let mut writes = audit.writes_of(OPERATOR);
        // By it the operator leads.
        writes.retain(|write| write.resource != "leases");
        writes.is_empty().then_some(())
    });
}

#[test]
fn what_is_changed_or_removed_by_hand_comes_back_and_no_pod_is_restarted() {
    let cluster = Cluster::lock();
    let namespace = cluster.namespace("by-hand");
    namespace.apply(IDLE);
    namespace.wait_ready("idle", 2);
    let pods = uids(&namespace, "idle");
    let owned = [
        "networkpolicies",
        "poddisruptionbudgets",
        "statefulsets",
        "services",
        "configmaps",
        "serviceaccounts",
        "rolebindings",
    ];
    let label = "waterspout.dev/topology=idle";
    let specs = || -> Vec<Value> {
        let list = namespace.get(&[&owned.join(","), "-l", label]).unwrap();
        let items = list["items"].as_array().unwrap().iter();
        items
            .map(|object| {
                json!([
                    object["kind"],
                    object["metadata"]["name"],
                    object["metadata"]["labels"],
                    object["spec"],
                    object["data"],
                    object["roleRef"],
                    object["subjects"],
                ])
            })
            .map(|mut object| {
                // Given anew to each Service.
                if let Some(spec) = object[3].as_object_mut() {
                    spec.remove("clusterIPs");
                }
                object
            })
            .collect()
    };
    let before = specs();
    assert_eq!(before.len(), 7, "{before:#?}");
    for kind in [
        "networkpolicies",
        "poddisruptionbudgets",
        "services",
        "configmaps",
        "serviceaccounts",
        "rolebindings",
    ] {
        namespace.kubectl(&["delete", kind, "-l", label]);
        wait_for(&format!("{kind} to come back"), PATIENCE, || {
            (specs() == before).then_some(())
        });
    }
    let set = namespace.kubectl(&["get", "statefulsets", "-l", label, "-o", "name"]);
    let set = set.trim();
    for change in [
        json!({"spec": {"replicas": 5}}),
        json!({"metadata": {"labels": {"waterspout.dev/revision": "other"}}}),
        json!({"spec": {"template": {"spec": {"enableServiceLinks": true}}}}),
    ] {
        namespace.kubectl(&["patch", set, "--type=merge", "-p", &change.to_string()]);
        wait_for(&format!("{change} to be undone"), PATIENCE, || {
            (specs() == before).then_some(())
        });
    }
    let map = namespace.kubectl(&["get", "configmaps", "-l", label, "-o", "name"]);
    let broken = json!({"data": {"plan.json": "{}"}}).to_string();
    namespace.kubectl(&["patch", map.trim(), "--type=merge", "-p", &broken]);
    wait_for("the plan to come back", PATIENCE, || {
        (specs() == before).then_some(())
    });
    namespace.wait_ready("idle", 2);
    // Pods that were asked for by hand go again.
    wait_for("the pods that were there before", PATIENCE, || {
        (uids(&namespace, "idle") == pods).then_some(())
    });
}

#[test]
fn another_graph_comes_after_the_one_that_runs_where_there_is_no_room_for_both() {
    let cluster = Cluster::lock();
    let namespace = cluster.namespace("replace");
    let recreated = IDLE.replace("spec:\n", "spec:\n  release: {strategy: Recreate}\n");
    namespace.apply(&recreated);
    namespace.wait_ready("idle", 2);
    let before = uids(&namespace, "idle");
    namespace.apply(&recreated.replace("rate: 10", "rate: 20"));
    namespace.wait_ready("idle", 2);
    let after = uids(&namespace, "idle");
    assert!(
        after.iter().all(|uid| !before.contains(uid)),
        "{before:?} {after:?}"
    );
    let sets = namespace.get(&[
        "statefulsets,services,configmaps",
        "-l",
        "waterspout.dev/topology=idle",
    ]);
    assert_eq!(sets.unwrap()["items"].as_array().unwrap().len(), 3);
}

#[test]
fn spouts_rest_while_a_topology_is_paused() {
    let cluster = Cluster::lock();
    let namespace = cluster.namespace("pause");
    namespace.apply(IDLE);
    namespace.wait_ready("idle", 2);
    let pods = uids(&namespace, "idle");
    let set = |paused: bool| {
        let change = json!({"spec": {"paused": paused}}).to_string();
        namespace.kubectl(&["patch", "topology", "idle", "--type=merge", "-p", &change]);
    };
    let tuples = || {
        namespace
            .logs("idle")
            .lines()
            .filter(|line| !line.starts_with('{'))
            .count()
    };
    set(true);
    namespace.kubectl(&["wait", "--for=condition=Paused", "topology/idle", "--timeout=60s"]);
    let topology = namespace.get(&["topology", "idle"]).unwrap();
    assert_eq!(topology["status"]["state"], "Paused");
    let before = tuples();
    for number in 0..3 {
        let seen = looks(&cluster);
        let label = format!("look={number}");
        namespace.kubectl(&["label", "topology", "idle", "--overwrite", &label]);
        wait_for("a look at the topology", PATIENCE, || {
            (looks(&cluster) > seen).then_some(())
        });
    }
    assert_eq!(tuples(), before);
    set(false);
    wait_for("tuples to flow again", PATIENCE, || {
        (tuples() > before).then_some(())
    });
    namespace.wait_ready("idle", 2);
    assert_eq!(uids(&namespace, "idle"), pods);
}

#[test]
fn a_topology_goes_with_all_that_belongs_to_it() {
    let cluster = Cluster::lock();
    let namespace = cluster.namespace("delete");
    namespace.apply(IDLE);
    namespace.wait_ready("idle", 2);
    namespace.kubectl(&["delete", "topology", "idle", "--timeout=60s"]);
    let kinds = "pods,statefulsets,services,configmaps,serviceaccounts,rolebindings,networkpolicies,poddisruptionbudgets";
    wait_for("all objects to be gone", PATIENCE, || {
        let left = namespace.get(&[kinds, "-l", "waterspout.dev/topology=idle"])?;
        left["items"].as_array()?.is_empty().then_some(())
    });
}

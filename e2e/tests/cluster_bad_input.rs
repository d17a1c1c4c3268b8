//! Bad input on a cluster: the API server refuses it, or a condition and an Event say what to do; what runs goes on.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::fmt::Write;

use waterspout_e2e::cluster::{Cluster, Namespace, PATIENCE, why};
use waterspout_e2e::wait_for;

fn manifest(name: &str, workers: &str, from: &str) -> String {
    format!(
        "
apiVersion: waterspout.dev/v1alpha1
kind: Topology
metadata: {{name: {name}}}
spec:
  workers: {{{workers}}}
  spouts:
  - name: numbers
    generator: {{rate: 10, shape: {{sequence: {{}}}}}}
    streams: [{{fields: [number]}}]
  bolts:
  - name: out
    inputs: [{{from: {from}}}]
    stdout: {{}}
"
    )
}

/// Waits for a condition that is not as it should be, and for the Event about it. The message.
fn wait_complaint(namespace: &Namespace, topology: &str, condition: &str, reason: &str) -> String {
    let message = namespace.wait(
        topology,
        &format!("{condition} with reason {reason}"),
        |topology| {
            why(topology, condition)
                .filter(|(found, _)| found == reason)
                .map(|(_, message)| message)
        },
    );
    wait_for(&format!("an Event with reason {reason}"), PATIENCE, || {
        let events = namespace.kubectl(&[
            "events",
            "--for",
            &format!("topology/{topology}"),
            "--types=Warning",
        ]);
        events.contains(reason).then_some(())
    });
    message
}

#[test]
fn a_graph_that_cannot_run_is_refused_by_the_admission_policy_where_it_can_see_it() {
    let cluster = Cluster::lock();
    let namespace = cluster.namespace("bad-admission");
    // A policy takes a moment to come into force.
    let refused = wait_for("the policy to refuse a graph", PATIENCE, || {
        namespace
            .try_apply(&manifest("words", "replicas: 1", "numbrs"))
            .err()
    });
    let place =
        "bolt 'out' reads from 'numbrs', which is no component of this topology; say one of: numbers, out";
    assert!(refused.contains(place), "{refused}");
    namespace.kubectl(&["delete", "topology", "words", "--ignore-not-found"]);
    let unread = manifest("words", "replicas: 1", "other").replace(
        "  bolts:",
        "  - name: other\n    generator: {rate: 1, shape: {sequence: {}}}\n    streams: [{fields: [number]}]\n  bolts:",
    );
    let refused = namespace.try_apply(&unread).unwrap_err();
    assert!(
        refused.contains("no bolt reads from spout 'numbers'"),
        "{refused}"
    );
    namespace.apply(&manifest("words", "replicas: 1", "numbers"));
    let refused = namespace.try_apply(&manifest("words", "replicas: 1", "numbrs"));
    assert!(refused.unwrap_err().contains(place));
    namespace.kubectl(&["scale", "topology/words", "--replicas=2"]);
    namespace.wait_ready("words", 2);
}

#[test]
fn what_only_the_whole_graph_shows_is_a_condition_and_what_runs_goes_on() {
    let cluster = Cluster::lock();
    let namespace = cluster.namespace("bad-graph");
    namespace.apply(&manifest("words", "replicas: 1", "numbers, fields: [numbr]"));
    let message = wait_complaint(&namespace, "words", "Accepted", "InvalidTopology");
    assert!(
        message.contains("numbr") && message.contains("number"),
        "{message}"
    );
    let topology = namespace.get(&["topology", "words"]).unwrap();
    assert_eq!(topology["status"]["state"], "Failed");
    assert!(namespace.pods("words").is_empty());

    namespace.apply(&manifest("words", "replicas: 1", "numbers"));
    namespace.wait_ready("words", 1);
    let pods = namespace.pods("words");
    namespace.apply(&manifest("words", "replicas: 1", "numbers, fields: [numbr]"));
    wait_complaint(&namespace, "words", "Accepted", "InvalidTopology");
    let topology = namespace.get(&["topology", "words"]).unwrap();
    assert_eq!(topology["status"]["state"], "Running");
    assert_eq!(
        namespace.pods("words")[0]["metadata"]["uid"],
        pods[0]["metadata"]["uid"]
    );
}

#[test]
fn a_name_that_is_too_long_is_refused() {
    let cluster = Cluster::lock();
    let namespace = cluster.namespace("bad-name");
    let name = "a".repeat(41);
    let refused = namespace.try_apply(&manifest(&name, "replicas: 1", "numbers"));
    assert!(
        refused
            .unwrap_err()
            .contains("metadata.name must have at most 40 characters")
    );
    let name = "a".repeat(40);
    namespace.apply(&manifest(&name, "replicas: 1", "numbers"));
    namespace.wait_ready(&name, 1);
}

#[test]
fn an_image_that_does_not_exist_is_named() {
    let cluster = Cluster::lock();
    let namespace = cluster.namespace("bad-image");
    let image = "waterspout.local/no-such-worker:1";
    namespace.apply(&manifest(
        "words",
        &format!("replicas: 1, image: '{image}'"),
        "numbers",
    ));
    let message = wait_complaint(&namespace, "words", "Ready", "ImageUnavailable");
    assert!(message.contains(image), "{message}");
    // Another image is another revision, and nothing stands in its way.
    namespace.apply(&manifest("words", "replicas: 1", "numbers"));
    namespace.wait_ready("words", 1);
}

#[test]
fn a_namespace_without_quota_left_is_named() {
    let cluster = Cluster::lock();
    let namespace = cluster.namespace("bad-quota");
    namespace.kubectl(&["create", "quota", "none", "--hard=pods=1"]);
    namespace.apply(&manifest("words", "replicas: 2", "numbers"));
    let message = wait_complaint(&namespace, "words", "Ready", "PodsRefused");
    assert!(message.contains("exceeded quota"), "{message}");
    namespace.kubectl(&["delete", "quota", "none"]);
    namespace.wait_ready("words", 2);
}

#[test]
fn an_object_of_somebody_else_is_not_taken_over() {
    let cluster = Cluster::lock();
    let namespace = cluster.namespace("bad-neighbour");
    namespace.kubectl(&["create", "serviceaccount", "words-worker"]);
    namespace.apply(&manifest("words", "replicas: 1", "numbers"));
    wait_for("an Event with reason NameTaken", PATIENCE, || {
        let events = namespace.kubectl(&["events", "--for", "topology/words", "--types=Warning"]);
        events.contains("NameTaken").then_some(())
    });
    let account = namespace.get(&["serviceaccount", "words-worker"]).unwrap();
    assert!(account["metadata"]["ownerReferences"].is_null());
    namespace.kubectl(&["delete", "serviceaccount", "words-worker"]);
    namespace.wait_ready("words", 1);
}

#[test]
fn a_plan_that_no_config_map_takes_is_named() {
    let cluster = Cluster::lock();
    let namespace = cluster.namespace("bad-size");
    // Few characters for the API server, and many in a plan.
    let mut text = manifest("large", "replicas: 1", "numbers");
    for bolt in 0..190 {
        writeln!(text, "  - name: bolt-{bolt}\n    stdout: {{}}\n    inputs:").unwrap();
        text.push_str("    - {from: numbers}\n");
        for other in 0..60 {
            writeln!(text, "    - {{from: more-{other}}}").unwrap();
        }
    }
    let mut spouts = String::new();
    for spout in 0..60 {
        writeln!(
            spouts,
            "  - {{name: more-{spout}, generator: {{shape: {{sequence: {{}}}}}}, streams: [{{fields: [number]}}]}}"
        )
        .unwrap();
    }
    let text = text.replace("  bolts:\n", &format!("{spouts}  bolts:\n"));
    namespace.apply_large(&text);
    let message = wait_complaint(&namespace, "large", "Accepted", "PlanTooLarge");
    assert!(message.contains("several topologies"), "{message}");
}

#[test]
fn a_cluster_that_refuses_an_object_is_quoted() {
    let cluster = Cluster::lock();
    let namespace = cluster.namespace("bad-rights");
    namespace.kubectl(&["create", "quota", "none", "--hard=services=0"]);
    namespace.apply(&manifest("words", "replicas: 1", "numbers"));
    wait_for("an Event with reason Refused", PATIENCE, || {
        let events = namespace.kubectl(&["events", "--for", "topology/words", "--types=Warning"]);
        (events.contains("Refused") && events.contains("exceeded quota")).then_some(())
    });
    namespace.kubectl(&["delete", "quota", "none"]);
    namespace.wait_ready("words", 1);
}

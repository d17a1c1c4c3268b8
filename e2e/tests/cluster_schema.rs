//! What a real API server makes of manifests by the schema of `crds/`: what it takes, refuses, fills in and explains.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::path::{Path, PathBuf};

use serde_json::json;
use waterspout_e2e::cluster::{Cluster, Turn};
use waterspout_e2e::repository;

/// Who refuses a manifest.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    /// The API server, by the schema.
    ByServer,
    /// Kubectl, which cannot make an object of it.
    ByKubectl,
    /// Nobody: the schema cannot see it.
    Not,
}

/// The manifests of `api/tests/bad/` that the API server does not refuse.
const OTHERWISE: [(Refused, &[&str]); 4] = [
    (
        Refused::ByKubectl,
        &[
            "alias-bomb",
            "alias-in-itself",
            "bad-indentation",
            "empty",
            "list-document",
            "missing-kind",
            "missing-metadata",
            "missing-name",
            "not-a-map",
            "not-yaml",
            "only-comments",
            "tab-deeper",
            "tab-indentation",
            "unclosed-bracket",
            "unclosed-quote",
            "unknown-anchor",
        ],
    ),
    // Whether a graph is right takes all of it at once; the operator says so in the condition `Accepted`.
    (
        Refused::Not,
        &[
            "bolt-that-no-spout-reaches",
            "count-fields",
            "output-fields",
            "pod-settings",
            "redis-fields",
            "several-graph-faults",
            "split-field",
            "spout-that-nothing-reads",
            "dead-letters",
            "direct-streams",
            "too-many-tasks",
            "unknown-component",
            "unknown-grouping-field",
            "unknown-stream",
            "untracked-cycle",
        ],
    ),
    // Kubectl takes any objects, and any number of them.
    (Refused::Not, &["no-topology", "two-topologies"]),
    // Kubectl forgets tags, and all but the last of keys that are the same, before it asks the API server.
    (Refused::Not, &["custom-tag", "duplicate-keys"]),
];

/// The manifests of `api/tests/good/` that the API server refuses: those with a status that no operator wrote.
const ONLY_WITHOUT_STATUS: [&str; 1] = ["everything"];

/// In what it says when it refuses something.
const POLICY: &str = "ValidatingAdmissionPolicy";

fn with_definition() -> Turn {
    let cluster = Cluster::lock_bare();
    cluster.define_topologies();
    cluster
}

/// The manifests of a folder of the repository, with their names.
fn manifests(folder: &str) -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir(repository().join(folder)).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "yaml"));
    paths.sort();
    assert!(!paths.is_empty(), "there are no manifests in {folder}");
    let name = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
    paths.into_iter().map(|path| (name(&path), path)).collect()
}

/// Who refuses a manifest, and with which words.
fn apply(cluster: &Cluster, path: &Path) -> (Refused, String) {
    let path = path.to_string_lossy();
    let apply = ["apply", "--dry-run=server", "--validate=strict", "-f", &path];
    let output = cluster.try_kubectl(apply);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    let by_server = [
        "Error from server (BadRequest)",
        "is invalid: ",
        "no matches for kind",
    ];
    // The chart's policy sees more than the schema, wherever the chart is installed.
    let refused = if output.status.success() || words.contains(POLICY) {
        Refused::Not
    } else if by_server.iter().any(|one| words.contains(one)) {
        Refused::ByServer
    } else {
        Refused::ByKubectl
    };
    (refused, words)
}

#[test]
fn the_api_server_refuses_what_the_schema_can_see() {
    let cluster = with_definition();
    let bad = manifests("api/tests/bad");
    for name in OTHERWISE.iter().flat_map(|(_, names)| *names) {
        assert!(bad.iter().any(|(bad, _)| bad == name), "there is no {name}");
    }
    let mut wrong = Vec::new();
    for (name, path) in bad {
        let otherwise = OTHERWISE.iter().find(|(_, names)| names.contains(&name.as_str()));
        let expected = otherwise.map_or(&Refused::ByServer, |(refused, _)| refused);
        let (refused, words) = apply(&cluster, &path);
        if refused != *expected {
            wrong.push(format!(
                "{name} is refused {refused:?} instead of {expected:?}: {words}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_api_server_takes_every_good_manifest_and_every_example() {
    let cluster = with_definition();
    let examples = std::fs::read_dir(repository().join("examples")).unwrap();
    let examples = examples.map(|entry| entry.unwrap().path().join("topology.yaml"));
    let examples = examples.filter(|path| path.exists());
    let examples = examples.map(|path| (path.display().to_string(), path));
    for (name, path) in manifests("api/tests/good").into_iter().chain(examples) {
        let (refused, words) = apply(&cluster, &path);
        if ONLY_WITHOUT_STATUS.contains(&name.as_str()) {
            let only_status = "strict decoding error: unknown field \"status.anything\"\n";
            assert!(words.ends_with(only_status), "{name}: {words}");
        } else {
            assert!(
                refused == Refused::Not && !words.contains(POLICY),
                "{name}: {words}"
            );
        }
    }
}

#[test]
fn a_topology_is_listed_scaled_and_deleted_as_users_of_kubectl_expect() {
    let cluster = with_definition();
    let namespace = cluster.namespace("schema");
    let manifest = std::fs::read_to_string(repository().join("examples/wordcount/topology.yaml")).unwrap();
    namespace.apply(&manifest);
    let spec = |field: &str| {
        let topology = namespace.get(&["topo", "wordcount"]).unwrap();
        topology["spec"].pointer(field).cloned()
    };
    assert_eq!(
        spec("/delivery/timeout"),
        Some(json!("30s")),
        "defaults are filled in"
    );
    let listed = namespace.kubectl(&["get", "topologies"]);
    let heads: Vec<&str> = listed.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(heads, ["NAME", "STATE", "READY", "WORKERS", "AGE"]);
    namespace.kubectl(&["scale", "topology/wordcount", "--replicas=4"]);
    assert_eq!(spec("/workers/replicas"), Some(json!(4)));
    let refused = namespace.try_kubectl(&["scale", "topology/wordcount", "--replicas=65"]);
    assert!(!refused.status.success(), "the schema holds for the scale, too");
    namespace.kubectl(&["delete", "topology", "wordcount", "--timeout=60s"]);
    assert_eq!(namespace.get(&["topology", "wordcount"]), None);
}

#[test]
fn kubectl_explains_every_field() {
    let cluster = with_definition();
    let explained = cluster.kubectl(["explain", "topology.spec.spouts"]);
    for words in [
        "KIND:       Topology",
        "DESCRIPTION:",
        "generator\t<Object>",
        "replicas\t<integer>",
    ] {
        assert!(explained.contains(words), "'{words}' is not in\n{explained}");
    }
    let all = cluster.kubectl(["explain", "topology.spec", "--recursive"]);
    for field in [
        "spouts",
        "bolts",
        "inputs",
        "maxPending",
        "drainTimeout",
        "workers",
    ] {
        assert!(all.contains(field), "{field} is not in\n{all}");
    }
}

//! Scripts on a cluster: the right counts, code from ConfigMaps, and errors that people see.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::path::Path;

use serde_json::Value;
use waterspout_e2e::cluster::{Cluster, Namespace, PATIENCE, is, why};
use waterspout_e2e::{printed_counts, repository, sample_counts, wait_for};

/// Numbers that a script of ConfigMap `code` works on.
const NUMBERS: &str = "
apiVersion: waterspout.dev/v1alpha1
kind: Topology
metadata: {name: numbers}
spec:
  spouts:
  - name: numbers
    generator: {rate: 50, shape: {sequence: {}}}
    streams: [{fields: [number]}]
  bolts:
  - name: shown
    inputs: [{from: numbers}]
    script: {configMap: {name: code, key: main.py}}
    streams: [{fields: [text]}]
  - name: out
    inputs: [{from: shown}]
    stdout: {}
";

/// The ConfigMap, with a module beside the script.
fn code(body: &str) -> String {
    format!(
        "
apiVersion: v1
kind: ConfigMap
metadata: {{name: code}}
data:
  main.py: |
    from words import WORD
    def process(tup):
        {body}
  words.py: |
    WORD = 'number'
"
    )
}

/// How a component stands in the status.
fn component(topology: &Value, name: &str) -> Value {
    let components = topology["status"]["components"].as_array();
    let mut found = components
        .into_iter()
        .flatten()
        .filter(|found| found["name"] == name);
    found.next().cloned().unwrap_or_default()
}

/// The message of a component's last error.
fn last_error(topology: &Value, name: &str) -> Option<String> {
    Some(
        component(topology, name)["lastError"]["message"]
            .as_str()?
            .to_owned(),
    )
}

fn pods(namespace: &Namespace) -> Vec<Value> {
    let pods = namespace.pods("numbers");
    pods.iter().map(|pod| pod["metadata"]["uid"].clone()).collect()
}

#[test]
fn word_count_in_python_gives_the_same_counts_on_a_cluster_and_so_does_an_app_of_umbrella() {
    let cluster = Cluster::lock();
    let namespace = cluster.namespace("script-words");
    namespace.kubectl(&["apply", "-f", "examples/wordcount/python.yaml"]);
    let app = tempfile::tempdir().unwrap();
    let file = app.path().join("words.py");
    let text = "from umbrella import CountBolt, FieldsGrouping, FileSpout, GlobalGrouping, StdoutBolt, Topology, bolt


@bolt('word')
def split(input):
    yield from input.line.split()


class Words(Topology):
    lines = FileSpout(path='text/*')
    words = split(2, inputs=lines)
    counts = CountBolt(2, by='word', emit='AtFinish', inputs=FieldsGrouping(words, 'word'))
    out = StdoutBolt(inputs=GlobalGrouping(counts))
";
    std::fs::write(&file, text).unwrap();
    let said = umbrella(
        &cluster,
        &["deploy", file.to_str().unwrap(), "-n", namespace.name()],
    );
    assert!(said.contains("topology.waterspout.dev/words created"), "{said}");
    for topology in ["wordcount-python", "words"] {
        let named = format!("topology/{topology}");
        namespace.kubectl(&["wait", "--for=condition=Complete", &named, "--timeout=120s"]);
        assert_eq!(
            printed_counts(&namespace.logs(topology)),
            sample_counts(),
            "{topology}"
        );
        let image = &namespace.pods(topology)[0]["spec"]["containers"][0]["image"];
        assert!(image.as_str().unwrap().contains("script-worker"), "{image}");
    }
    umbrella(&cluster, &["delete", "words", "-n", namespace.name()]);
    assert_eq!(namespace.get(&["topology", "words"]), None);
}

/// Runs the command `umbrella` of this checkout. What it said.
fn umbrella(cluster: &Cluster, args: &[&str]) -> String {
    let output = cluster
        .command(Path::new("python3"))
        .args(["-m", "umbrella"])
        .args(args)
        .env("PYTHONPATH", repository().join("umbrella/src"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    said
}

#[test]
fn a_script_comes_from_a_config_map_whose_changes_are_revisions_and_whose_errors_are_seen() {
    let cluster = Cluster::lock();
    let namespace = cluster.namespace("script-map");
    namespace.apply(NUMBERS);
    let message = namespace.wait("numbers", "word of the missing ConfigMap", |topology| {
        let (reason, message) = why(topology, "Accepted")?;
        (reason == "ScriptMissing").then_some(message)
    });
    assert!(
        message.contains("component 'shown'") && message.contains("ConfigMap 'code'"),
        "{message}"
    );
    assert!(pods(&namespace).is_empty());

    // It fails at every tenth number, and tells so.
    let failing = "
        if tup.number % 10 == 3:
            raise ValueError(f'not {tup.number}')
        yield (f'{WORD} {tup.number}',)";
    namespace.apply(&code(failing));
    namespace.wait_ready("numbers", 1);
    let (error, selector) = namespace.wait("numbers", "the traceback", |topology| {
        let error = last_error(topology, "shown")?;
        Some((error, topology["status"]["selector"].clone()))
    });
    for words in ["Traceback", "main.py", "ValueError: not "] {
        assert!(error.contains(words), "{error}");
    }
    let described = namespace.kubectl(&["describe", "topology", "numbers"]);
    assert!(described.contains("ValueError: not "), "{described}");
    wait_for("the Event", PATIENCE, || {
        let events = namespace.kubectl(&["events", "--for", "topology/numbers"]);
        let is_told = |line: &str| line.contains("ComponentFailed") && line.contains("ValueError");
        events.lines().any(is_told).then_some(())
    });
    let logs = wait_for("output of what did not fail", PATIENCE, || {
        let logs = namespace.logs("numbers");
        logs.contains("\nnumber 14\n").then_some(logs)
    });
    assert!(!logs.contains("\nnumber 13\n"), "{logs}");

    // Mended: another revision, without the error.
    let before = pods(&namespace);
    namespace.apply(&code("yield (f'the {WORD} {tup.number}',)"));
    namespace.wait("numbers", "another revision", |topology| {
        let is_new = topology["status"]["selector"] != selector && is(topology, "Ready", "True");
        (is_new && last_error(topology, "shown").is_none()).then_some(())
    });
    let after = pods(&namespace);
    assert!(
        after.iter().all(|pod| !before.contains(pod)),
        "{before:?} {after:?}"
    );
    wait_for("its output", PATIENCE, || {
        namespace.logs("numbers").contains("\nthe number ").then_some(())
    });
    let copies = namespace
        .get(&["configmaps", "-l", "waterspout.dev/topology=numbers"])
        .unwrap();
    let copies = copies["items"].as_array().unwrap().clone();
    let immutable = copies.iter().filter(|map| map["immutable"] == true).count();
    assert_eq!((copies.len(), immutable), (2, 1), "{copies:#?}");

    // What runs goes on without the ConfigMap that it came from.
    namespace.kubectl(&["delete", "configmap", "code"]);
    namespace.wait("numbers", "word of the missing ConfigMap", |topology| {
        (why(topology, "Accepted")?.0 == "ScriptMissing").then_some(())
    });
    let lines = || namespace.logs("numbers").lines().count();
    let seen = lines();
    wait_for("more output", PATIENCE, || (lines() > seen).then_some(()));
    assert_eq!(pods(&namespace), after);
}

#[test]
fn what_an_app_needs_and_does_not_find_in_the_image_is_a_condition() {
    let cluster = Cluster::lock();
    let namespace = cluster.namespace("script-needs");
    let app = tempfile::tempdir().unwrap();
    let file = app.path().join("needs.py");
    let text = "from umbrella import GeneratorSpout, StdoutBolt, Topology, bolt


@bolt('number')
def same(input):
    yield input.number


class Needs(Topology):
    requirements = ['no-such-distribution>=1']
    numbers = GeneratorSpout(rate=10)
    same = same(inputs=numbers)
    out = StdoutBolt(inputs=same)
";
    std::fs::write(&file, text).unwrap();
    umbrella(
        &cluster,
        &["deploy", file.to_str().unwrap(), "-n", namespace.name()],
    );
    let message = namespace.wait("needs", "word of the requirement", |topology| {
        let (reason, message) = why(topology, "Degraded")?;
        (reason == "RequirementsMissing").then_some(message)
    });
    assert!(
        message.contains("component 'same'")
            && message.contains("'no-such-distribution>=1' is not installed")
            && message.contains("use a worker image that has them"),
        "{message}"
    );
    namespace.wait("needs", "restarts", |topology| {
        let same = component(topology, "same");
        (same["restarts"].as_i64()? > 0 && same["failing"] == 1).then_some(())
    });
}

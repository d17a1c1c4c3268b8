//! Scripts on a cluster: the right counts, code from ConfigMaps, and errors that people see.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::collections::{BTreeMap, BTreeSet};
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
  release: {probation: 3s}
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

/// Programs of each kind that a pod may have, one behind the other. Each passes the numbers on that it gets.
const KINDS: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: kinds-code}
data:
  main.mjs: |
    export function process(tup) { return [tup.number]; }
---
apiVersion: waterspout.dev/v1alpha1
kind: Topology
metadata: {name: kinds}
spec:
  workers: {replicas: 2}
  spouts:
  - name: numbers
    script:
      python: |
        def spout(position=0):
            for number in range(position or 0, 500):
                yield (number,)
    streams: [{fields: [number]}]
  bolts:
  - name: javascript
    inputs: [{from: numbers}]
    script: {configMap: {name: kinds-code, key: main.mjs}}
    streams: [{fields: [number]}]
  - name: storm
    replicas: 2
    inputs: [{from: javascript}]
    command:
      protocol: Multilang
      argv:
      - python3
      - -c
      - |
        import json, os, sys
        def read():
            lines = iter(sys.stdin.readline, "end\n")
            return json.loads("".join(lines))
        def write(message):
            print(json.dumps(message), "end", sep="\n", flush=True)
        open(os.path.join(read()["pidDir"], str(os.getpid())), "w").close()
        write({"pid": os.getpid()})
        while True:
            tup = read()
            if tup["stream"] == "__heartbeat":
                write({"command": "sync"})
                continue
            emit = {"command": "emit", "anchors": [tup["id"]], "tuple": tup["tuple"], "need_task_ids": False}
            write(emit)
            write({"command": "ack", "id": tup["id"]})
    streams: [{fields: [number]}]
  - name: out
    inputs: [{from: storm}]
    stdout: {}
"#;

#[test]
fn examples_give_on_a_cluster_what_they_give_here_whatever_language_they_are_in() {
    let cluster = Cluster::lock();
    let namespace = cluster.namespace("script-examples");
    let counts = [
        "wordcount",
        "wordcount-python",
        "wordcount-languages",
        "word-count",
    ];
    for manifest in ["topology.yaml", "python.yaml", "languages.yaml"] {
        namespace.kubectl(&["apply", "-f", &format!("examples/wordcount/{manifest}")]);
    }
    for (app, topology) in [
        ("wordcount/word_count.py", "word-count"),
        ("access-log/access_log.py", "access-log"),
    ] {
        let app = format!("examples/{app}");
        let said = umbrella(&cluster, &["deploy", &app, "-n", namespace.name()]);
        let created = format!("topology.waterspout.dev/{topology} created");
        assert!(said.contains(&created), "{said}");
    }
    namespace.apply(KINDS);
    for topology in counts.into_iter().chain(["access-log", "kinds"]) {
        let named = format!("topology/{topology}");
        namespace.kubectl(&["wait", "--for=condition=Complete", &named, "--timeout=240s"]);
    }
    for topology in counts {
        let printed = printed_counts(&namespace.logs(topology));
        assert_eq!(printed, sample_counts(), "{topology}");
    }
    let image_of = |topology: &str| {
        let image = &namespace.pods(topology)[0]["spec"]["containers"][0]["image"];
        image.as_str().unwrap().to_owned()
    };
    assert!(!image_of("wordcount").contains("script-worker"));
    assert!(image_of("word-count").contains("script-worker"));

    // A test beside the example compares what it prints here with what awk says of the log.
    let here = umbrella(&cluster, &["run", "examples/access-log/access_log.py"]);
    let (rates, ranking) = analytics(&here);
    assert!(rates.len() > 10 && ranking.len() == 5, "{here}");
    assert_eq!(analytics(&namespace.logs("access-log")), (rates, ranking));

    let numbers: BTreeSet<u64> = namespace
        .logs("kinds")
        .lines()
        .filter_map(|line| line.parse().ok())
        .collect();
    assert!(numbers.into_iter().eq(0..500));

    let logs = umbrella(&cluster, &["logs", "word-count", "-n", namespace.name()]);
    let words = logs.lines().filter(|line| line.contains('\t')).count();
    assert_eq!(words, sample_counts().len(), "{logs}");
    umbrella(&cluster, &["delete", "word-count", "-n", namespace.name()]);
    assert_eq!(namespace.get(&["topology", "word-count"]), None);
}

/// Requests and errors of each minute.
type Rates = BTreeMap<String, (u64, u64)>;
/// Paths, and how often they were asked for.
type Ranking = Vec<(String, u64)>;

/// What the analytics of the access log printed: the rates, and the ranking at the end.
fn analytics(printed: &str) -> (Rates, Ranking) {
    let lines: Vec<Value> = printed
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let number = |line: &Value, field: &str| line[field].as_u64().unwrap_or_default();
    let mut rates = BTreeMap::new();
    for line in lines.iter().filter(|line| line["minute"].is_string()) {
        // A minute may be said more than once, and grows.
        let now = (number(line, "requests"), number(line, "errors"));
        let minute = line["minute"].as_str().unwrap().to_owned();
        let known = rates.entry(minute).or_insert(now);
        *known = now.max(*known);
    }
    let ranks = lines.iter().filter(|line| line["rank"].is_u64());
    let ranks: Ranking = ranks
        .map(|line| (line["path"].as_str().unwrap().to_owned(), number(line, "count")))
        .collect();
    (rates, ranks[ranks.len().saturating_sub(5)..].to_vec())
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

    // Mended: another revision, without the error. The one before goes once that is sure.
    let before = pods(&namespace);
    namespace.apply(&code("yield (f'the {WORD} {tup.number}',)"));
    namespace.wait("numbers", "another revision", |topology| {
        let is_new = topology["status"]["selector"] != selector && is(topology, "Ready", "True");
        let is_alone = topology["status"]["release"].is_null();
        (is_new && is_alone && last_error(topology, "shown").is_none()).then_some(())
    });
    wait_for("the pods before to be gone", PATIENCE, || {
        let now = pods(&namespace);
        now.iter().all(|pod| !before.contains(pod)).then_some(())
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

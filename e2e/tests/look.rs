//! Looking into workers that run: `tap`, `log-level`, `dead-letters`, and metrics of a component's own code.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use waterspout_e2e::{Finished, Run, manifest, program, wait_for};

const PATIENCE: Duration = Duration::from_secs(30);

/// A run of numbers that never ends: number 7 is refused, unless a file is there.
struct Numbers {
    topology: &'static str,
    directory: TempDir,
    run: Run,
}

impl Numbers {
    fn start(topology: &'static str, workers: &str) -> Self {
        let (directory, path) = manifest(&format!(
            "
apiVersion: waterspout.dev/v1alpha1
kind: Topology
metadata: {{name: {topology}}}
spec:
  delivery: {{maxAttempts: 2}}
  spouts:
  - name: numbers
    generator: {{rate: 200, shape: {{sequence: {{}}}}}}
    streams: [{{fields: [number]}}]
  bolts:
  - name: picky
    replicas: 2
    inputs: [{{from: numbers}}]
    rust: {{component: picky, config: {{refused: 7, unless: PATH/allowed}}}}
    streams: [{{fields: [number]}}]
  - name: out
    inputs: [{{from: picky}}]
    stdout: {{}}
"
        ));
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.replace("PATH", directory.path().to_str().unwrap());
        std::fs::write(&path, text).unwrap();
        let mut command = Command::new(program("talkative-worker"));
        command.args(["run", path.to_str().unwrap(), "--workers", workers, "--quiet"]);
        let numbers = Self {
            topology,
            directory,
            run: Run::of(command),
        };
        wait_for("numbers", PATIENCE, || {
            (!numbers.run.stdout().is_empty()).then_some(())
        });
        numbers
    }

    /// Runs a command of `waterspout` on it.
    fn ask(&self, args: &[&str]) -> Finished {
        let place = ["--topology", self.topology];
        Run::start(args.iter().chain(&place)).finish(PATIENCE)
    }

    fn json(&self, args: &[&str]) -> Vec<Value> {
        let args: Vec<&str> = args.iter().copied().chain(["--output", "json"]).collect();
        let asked = self.ask(&args);
        assert!(asked.status.success(), "{asked:?}");
        let lines = asked.stdout.lines();
        lines.map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Where a worker's endpoints are.
    fn address(&self) -> String {
        wait_for("the endpoints", PATIENCE, || {
            let runs = std::fs::read_dir(std::env::temp_dir()).unwrap().flatten();
            let files = runs.map(|run| run.path().join("worker-0/endpoints.json"));
            let found = files.filter_map(|file| std::fs::read(file).ok());
            let found = found.filter_map(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
            let mut own = found.filter(|endpoints| endpoints["topology"] == self.topology);
            own.next()
                .map(|endpoints| endpoints["address"].as_str().unwrap().to_owned())
        })
    }

    fn end(self) -> Finished {
        self.run.signal(Signal::SIGTERM);
        self.run.finish(PATIENCE)
    }
}

#[test]
fn a_tap_shows_what_a_component_emits_or_a_sink_takes_and_refuses_what_is_not_there() {
    let numbers = Numbers::start("tapped", "2");
    let tuples = numbers.json(&["tap", "picky", "--count", "5"]);
    assert_eq!(tuples.len(), 5);
    for tuple in &tuples {
        assert_eq!(
            (&tuple["component"], &tuple["stream"]),
            (&json!("picky"), &json!("default"))
        );
        assert!(tuple["tuple"]["number"].as_i64().is_some(), "{tuple}");
    }
    let taken = numbers.ask(&["tap", "out", "--count", "3", "--rate", "100"]);
    assert!(taken.status.success(), "{taken:?}");
    assert_eq!(taken.stdout.lines().count(), 3);
    assert!(taken.stdout.starts_with("picky["), "{}", taken.stdout);
    let wrong = numbers.ask(&["tap", "piky"]);
    assert_eq!(wrong.status.code(), Some(1));
    let expected = "there is no component 'piky'; the topology has numbers, picky, out";
    assert!(wrong.stderr.contains(expected), "{wrong:?}");
    assert!(numbers.end().status.success());
}

#[test]
fn the_log_level_of_one_component_or_of_all_changes_while_workers_run() {
    let numbers = Numbers::start("talking", "2");
    let filters = |answer: Vec<Value>| -> Vec<String> {
        let filter = |line: &Value| line["filter"].as_str().unwrap().to_owned();
        answer.iter().map(filter).collect()
    };
    assert_eq!(filters(numbers.json(&["log-level"])), ["warn", "warn"]);
    assert!(!numbers.run.stderr().contains("looked at"));
    let set = filters(numbers.json(&["log-level", "picky=debug"]));
    assert_eq!(set, ["warn,[task{component=picky}]=debug"; 2]);
    let lines = wait_for("lines of both tasks", PATIENCE, || {
        let log = numbers.run.stderr();
        let is_there = |task: &str| {
            log.lines()
                .any(|line| line.contains("looked at") && line.contains(task))
        };
        (is_there("task=1") && is_there("task=2")).then_some(log)
    });
    let line = lines.lines().find(|line| line.contains("looked at")).unwrap();
    for expected in ["DEBUG", "topology=\"talking\"", "component=\"picky\"", "number="] {
        assert!(line.contains(expected), "'{expected}' is not in: {line}");
    }
    assert_eq!(filters(numbers.json(&["log-level", "--reset"])), ["warn", "warn"]);
    let wrong = numbers.ask(&["log-level", "picky=loud"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(wrong.stderr.contains("'picky=loud' is no level"), "{wrong:?}");
    assert!(numbers.end().status.success());
}

#[test]
fn a_tuple_that_was_given_up_is_listed_and_replayed_once_it_can_be_worked_on() {
    let numbers = Numbers::start("given-up", "2");
    let listed = wait_for("a dead letter", PATIENCE, || {
        numbers.json(&["dead-letters", "list"]).into_iter().next()
    });
    for (key, expected) in [
        ("component", json!("numbers")),
        ("stream", json!("default")),
        ("reason", json!("failed")),
        ("attempts", json!(2)),
        ("tuple", json!({"number": 7})),
    ] {
        assert_eq!(listed[key], expected, "{listed}");
    }
    let printed = |number: &str| numbers.run.stdout().lines().any(|line| line == number);
    assert!(!printed("7"));
    std::fs::write(numbers.directory.path().join("allowed"), "").unwrap();
    let wrong = numbers.ask(&["dead-letters", "replay", "0-99"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(
        wrong.stderr.contains("there is no dead letter '0-99'"),
        "{wrong:?}"
    );
    let replayed = numbers.json(&["dead-letters", "replay", listed["id"].as_str().unwrap()]);
    assert_eq!(replayed, [json!({"replayed": 1})]);
    wait_for("the tuple", PATIENCE, || printed("7").then_some(()));
    assert!(numbers.json(&["dead-letters", "list"]).is_empty());
    let ended = numbers.end();
    assert!(ended.status.success(), "{ended:?}");
}

#[test]
fn metrics_of_a_components_own_code_are_with_those_of_its_worker() {
    let numbers = Numbers::start("measured", "1");
    let address = numbers.address();
    let metrics = wait_for("counts", PATIENCE, || {
        let text = ask(&address, "/metrics", "localhost");
        text.contains("user_numbers_bucket{le=\"+Inf\"").then_some(text)
    });
    for task in ["1", "2"] {
        let labels = format!("{{topology=\"measured\",component=\"picky\",task=\"{task}\"}}");
        let counted = format!("waterspout_user_looked_at_total{labels} ");
        assert!(metrics.contains(&counted), "'{counted}' is not in:\n{metrics}");
    }
    assert!(metrics.contains("# HELP waterspout_user_looked_at Numbers looked at\n"));
    assert!(
        metrics.contains(
            "waterspout_task_execute_latency_seconds_count{topology=\"measured\",component=\"picky\""
        )
    );
    assert!(numbers.end().status.success());
}

#[test]
fn what_shows_tuples_or_changes_something_is_refused_to_other_hosts() {
    let numbers = Numbers::start("guarded", "1");
    let address = numbers.address();
    for path in ["/log-level", "/dead-letters", "/tap?component=picky"] {
        let refused = ask(&address, path, "attacker.example");
        assert!(refused.starts_with("HTTP/1.1 403"), "{path}: {refused}");
    }
    assert!(ask(&address, "/log-level", "localhost").starts_with("HTTP/1.1 200"));
    assert!(ask(&address, "/status", "pod.example").starts_with("HTTP/1.1 200"));
    assert!(numbers.end().status.success());
}

fn ask(address: &str, path: &str, host: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

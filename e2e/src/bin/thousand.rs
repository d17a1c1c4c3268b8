//! A thousand topologies at one operator, on a cluster that is up, whose pods are held back: how long it takes, and what the
//! operator takes. The program behind `cargo xtask bench operator`.
//!
//! Pods are held back by stopping the cluster's controllers, so that the API server works for the operator alone. The operator is
//! that of this checkout, as a process of this machine. It ends with a panic that says why if a figure is worse than its goal.

#![allow(clippy::print_stdout, reason = "the figures are what this is for")]

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use waterspout_e2e::cluster::{Cluster, Namespace, Turn};
use waterspout_e2e::{program, wait_for};

/// Where the operator is asked for its metrics.
const HTTP: &str = "127.0.0.1:18080";
/// So many programs make topologies at a time.
const MAKERS: usize = 4;
/// How long anything may take before the measurement ends in vain.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long the operator is watched while nothing happens: it looks at each topology about twice.
const IDLE: Duration = Duration::from_secs(240);

/// Goals: seconds, megabytes, and hundredths of a core.
const CREATED: f64 = 120.0;
const STARTED: f64 = 20.0;
const MEMORY: f64 = 100.0;
const CPU: f64 = 1.0;

fn manifest(number: usize) -> String {
    format!(
        "
apiVersion: waterspout.dev/v1alpha1
kind: Topology
metadata: {{name: words-{number}}}
spec:
  workers: {{replicas: 2}}
  spouts:
  - name: lines
    file: {{path: text/*}}
    streams: [{{fields: [line]}}]
  bolts:
  - name: split
    replicas: 2
    inputs: [{{from: lines}}]
    split: {{field: line}}
    streams: [{{fields: [word]}}]
  - name: count
    replicas: 2
    inputs: [{{from: split, fields: [word]}}]
    count: {{by: [word], emit: AtFinish}}
    streams: [{{fields: [word, count]}}]
  - name: out
    inputs: [{{from: count, global: {{}}}}]
    stdout: {{}}
---"
    )
}

/// An operator of this checkout, which ends with the value.
struct Operator {
    process: Child,
    began: Instant,
}

impl Operator {
    fn start(cluster: &Cluster, namespace: &str) -> Self {
        let process = cluster
            .command(&program("waterspout-operator"))
            .args([
                "run",
                "--worker-image",
                "worker:1",
                "--script-worker-image",
                "worker:1",
            ])
            .args(["--namespace", namespace, "--http", HTTP, "--log", "warn"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("the operator does not start: {error}"));
        Self {
            process,
            began: Instant::now(),
        }
    }

    /// The sum of a metric's counts with these words in their labels, once the operator answers.
    fn count(&self, metric: &str, words: &str) -> u64 {
        let metrics = get("/metrics").unwrap_or_default();
        let lines = metrics.lines().filter(|line| {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            name == metric && line.contains(words)
        });
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum()
    }

    fn writes(&self) -> u64 {
        self.count("waterspout_operator_writes_total", "")
    }

    /// Megabytes that it has now, and that it had at most.
    fn memory(&self) -> (f64, f64) {
        let path = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(path)
            .unwrap_or_else(|error| panic!("read the operator's memory: {error}"));
        let field = |name: &str| {
            let mut lines = status.lines().filter_map(|line| line.strip_prefix(name));
            let kilobytes = lines.next().and_then(|rest| rest.split_whitespace().next());
            kilobytes
                .and_then(|text| text.parse::<f64>().ok())
                .unwrap_or(f64::NAN)
                / 1000.0
        };
        (field("VmRSS:"), field("VmHWM:"))
    }

    /// Seconds of CPU time.
    fn cpu(&self) -> f64 {
        let path = format!("/proc/{}/stat", self.process.id());
        let stat =
            std::fs::read_to_string(path).unwrap_or_else(|error| panic!("read the operator's time: {error}"));
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let ticks = |at: usize| {
            fields
                .get(at)
                .and_then(|text| text.parse::<f64>().ok())
                .unwrap_or(f64::NAN)
        };
        // Linux counts in hundredths of a second.
        (ticks(11) + ticks(12)) / 100.0
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn get(path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(HTTP).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {HTTP}\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.starts_with("HTTP/1.1 200").then_some(answer)
}

fn say(line: &str) {
    // Who closed standard error does not want to hear it.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Makes so many topologies, with several programs at a time.
fn make(cluster: &Cluster, namespace: &Namespace, count: usize) {
    let mut makers: Vec<(Child, _)> = Vec::new();
    for maker in 0..MAKERS {
        let mut text = String::new();
        for number in (maker..count).step_by(MAKERS) {
            text.push_str(&manifest(number));
        }
        let (directory, path) = waterspout_e2e::manifest(&text);
        let kubectl = waterspout_e2e::target().join("cluster/bin/kubectl");
        let child = cluster
            .command(&kubectl)
            .args(["-n", namespace.name(), "create", "--validate=false", "-f"])
            .arg(&path)
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("kubectl does not start: {error}"));
        makers.push((child, directory));
    }
    for (mut maker, _directory) in makers {
        let status = maker
            .wait()
            .unwrap_or_else(|error| panic!("wait for kubectl: {error}"));
        assert!(status.success(), "kubectl could not make the topologies");
    }
}

fn objects(namespace: &Namespace, kind: &str) -> usize {
    namespace.kubectl(&["get", kind, "-o", "name"]).lines().count()
}

/// One figure, its unit, and what it is to be at most.
type Row = (&'static str, f64, &'static str, f64);

fn measure(cluster: &Turn, count: usize) -> Vec<Row> {
    let namespace = cluster.namespace("thousand");
    let _held_back = cluster.stop("controller-manager");
    let operator = Operator::start(cluster, namespace.name());
    wait_for("the operator to be ready", PATIENCE, || get("/readyz"));
    let began = Instant::now();
    make(cluster, &namespace, count);
    let made = began.elapsed().as_secs_f64();
    say(&format!("{count} topologies were made in {made:.1} s"));
    let mut shown = 0;
    wait_for("a StatefulSet of each topology", PATIENCE, || {
        let sets = operator.count("waterspout_operator_writes_total", "\"StatefulSet\"");
        if sets / 100 > shown {
            shown = sets / 100;
            say(&format!(
                "{:6.1} s: {sets} StatefulSets",
                began.elapsed().as_secs_f64()
            ));
        }
        (sets >= count as u64).then_some(())
    });
    let quiet = quiet(&operator);
    let created = (quiet - began).as_secs_f64();
    let (_, most) = operator.memory();
    assert_eq!(objects(&namespace, "statefulsets"), count);
    assert_eq!(objects(&namespace, "topologies"), count);
    let per_topology = operator.writes() as f64 / count as f64;
    say(&format!(
        "{created:6.1} s: done; {per_topology:.1} writes a topology; {most:.0} MB at most"
    ));
    drop(operator);

    let operator = Operator::start(cluster, namespace.name());
    wait_for("every topology to be looked at", PATIENCE, || {
        let looks = operator.count("waterspout_operator_reconciles_total", "Done");
        (looks >= count as u64).then_some(())
    });
    let started = operator.began.elapsed().as_secs_f64();
    let writes_at_start = operator.writes();
    say(&format!(
        "{started:6.1} s: a fresh operator has looked at all of them"
    ));
    let (cpu, looks) = (
        operator.cpu(),
        operator.count("waterspout_operator_reconciles_total", ""),
    );
    let until = Instant::now() + IDLE;
    say(&format!("nothing happens for {} s", IDLE.as_secs()));
    wait_for("a while in which nothing happens", 2 * IDLE, || {
        (Instant::now() >= until).then_some(())
    });
    let busy = (operator.cpu() - cpu) / IDLE.as_secs_f64() * 100.0;
    let looks = operator.count("waterspout_operator_reconciles_total", "") - looks;
    let writes = operator.writes();
    let (now, most_of_fresh) = operator.memory();
    vec![
        ("created at once", created, "s", CREATED),
        ("memory at most meanwhile", most, "MB", MEMORY),
        ("fresh operator", started, "s", STARTED),
        ("its writes", writes_at_start as f64, "", 0.0),
        ("its memory at most", most_of_fresh, "MB", MEMORY),
        ("its memory afterwards", now, "MB", MEMORY),
        ("idle: CPU", busy, "% of a core", CPU),
        ("idle: writes", (writes - writes_at_start) as f64, "", 0.0),
        (
            "idle: looks a second",
            looks as f64 / IDLE.as_secs_f64(),
            "",
            f64::INFINITY,
        ),
    ]
}

/// When the operator wrote last, once it has written nothing for three seconds.
fn quiet(operator: &Operator) -> Instant {
    let (mut writes, mut since) = (operator.writes(), Instant::now());
    wait_for("the operator to be done", PATIENCE, || {
        let now = operator.writes();
        if now != writes {
            (writes, since) = (now, Instant::now());
        }
        (since.elapsed() >= Duration::from_secs(3)).then_some(())
    });
    since
}

fn main() {
    let setting = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let count = setting("WATERSPOUT_TOPOLOGIES").map_or(1000, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("WATERSPOUT_TOPOLOGIES='{text}' is no number"))
    });
    let cluster = Cluster::lock_bare();
    cluster.require_ours();
    cluster.define_topologies();
    let rows = measure(&cluster, count);
    if setting("WATERSPOUT_OUTPUT").as_deref() == Some("json") {
        for (what, figure, unit, goal) in &rows {
            let goal = goal.is_finite().then_some(goal);
            println!(
                "{}",
                json!({"topologies": count, "what": what, "figure": figure, "unit": unit, "goal": goal})
            );
        }
    } else {
        let mut table = format!("{count} topologies             figure           goal\n");
        for (what, figure, unit, goal) in &rows {
            let goal = if goal.is_finite() {
                format!("{goal:.0}")
            } else {
                String::new()
            };
            // Writing to a text does not fail.
            let _ = writeln!(table, "{what:<26} {figure:>8.2} {unit:<12} {goal:>4}");
        }
        println!("\n{table}");
    }
    let missed: Vec<&str> = rows
        .iter()
        .filter(|(_, figure, _, goal)| figure > goal)
        .map(|row| row.0)
        .collect();
    assert!(missed.is_empty(), "worse than the goal: {}", missed.join(", "));
}

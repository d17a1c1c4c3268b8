//! Tuples that kill the process that works on them end in the dead letters, and only they do.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use waterspout_e2e::{Finished, Run, manifest, program};

const TUPLES: u64 = 20_000;
const POISON: u64 = 777;

struct Case {
    how: &'static str,
    /// As dead letters say it.
    reason: &'static str,
    workers: u32,
    attempts: u32,
    /// Numbers of a `generator`, whose ids mean the same to the next process, or lines of a `file`, whose ids do not.
    lines: bool,
}

/// What the poison did is counted against it, `attempts` times, and against no other tuple.
fn run(case: &Case) -> Finished {
    let Case {
        how,
        reason,
        workers,
        attempts,
        lines,
    } = *case;
    let source = if lines {
        "file: {path: in.txt}".to_owned()
    } else {
        format!("generator: {{count: {TUPLES}, shape: {{sequence: {{}}}}}}")
    };
    // The message timeout would end the test before it could save it.
    let (directory, path) = manifest(&format!(
        "
apiVersion: waterspout.dev/v1alpha1
kind: Topology
metadata: {{name: poison}}
spec:
  delivery: {{maxAttempts: {attempts}, timeout: 10m, taskTimeout: 1s}}
  spouts:
  - name: in
    {source}
    streams: [{{fields: [number]}}]
  bolts:
  - name: fragile
    replicas: 2
    inputs: [{{from: in}}]
    rust: {{component: fragile, config: {{how: {how}, poison: {POISON}}}}}
    streams: [{{fields: [number]}}]
  - name: out
    inputs: [{{from: fragile}}]
    file: {{directory: out}}
  - name: dead
    inputs: [{{from: in, stream: dead-letters}}]
    file: {{directory: dead, format: Json}}
"
    ));
    let text: String = (0..TUPLES).map(|number| format!("{number}\n")).collect();
    std::fs::write(directory.path().join("in.txt"), text).unwrap();
    // In a shell, since what a process may have is inherited: 4 GB of addresses.
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -v 4000000; exec \"$0\" \"$@\""])
        .arg(program("fragile-worker"))
        .args(["run", path.to_str().unwrap(), "--output", "json", "--log", "warn"])
        .args(["--workers", &workers.to_string()]);
    let finished = Run::of(command).finish(Duration::from_secs(60));
    assert!(finished.status.success(), "{finished:?}");
    let arrived: BTreeSet<u64> = lines_in(&directory.path().join("out"))
        .iter()
        .map(|line| line.parse().unwrap())
        .collect();
    let expected: BTreeSet<u64> = (0..TUPLES).filter(|number| *number != POISON).collect();
    let missing = expected.difference(&arrived).count();
    assert!(arrived == expected, "{missing} are missing; {finished:?}");
    let number = if lines {
        json!(POISON.to_string())
    } else {
        json!(POISON)
    };
    let letter =
        json!({"stream": "default", "tuple": {"number": number}, "reason": reason, "attempts": attempts});
    let letters: BTreeSet<String> = lines_in(&directory.path().join("dead")).into_iter().collect();
    let letters: Vec<Value> = letters
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(letters, [letter], "{finished:?}");
    finished
}

/// How often a worker's process was started again.
fn restarts(finished: &Finished) -> u64 {
    let summary: Value = serde_json::from_str(finished.stderr.lines().last().unwrap()).unwrap();
    summary["restarts"].as_u64().unwrap()
}

fn lines_in(directory: &Path) -> Vec<String> {
    let files = std::fs::read_dir(directory).unwrap();
    files
        .flat_map(|file| {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
}

/// In one process with its spout, in another one, and with ids that the next process does not know.
fn kills(how: &'static str, reason: &'static str) {
    for (workers, lines) in [(1, false), (1, true), (2, false)] {
        let finished = run(&Case {
            how,
            reason,
            workers,
            attempts: 3,
            lines,
        });
        assert_eq!(restarts(&finished), 3, "{workers} workers, {finished:?}");
    }
}

#[test]
fn a_tuple_that_panics_ends_in_the_dead_letters() {
    kills("Panic", "panicked");
}

#[test]
fn a_tuple_that_aborts_ends_in_the_dead_letters() {
    kills("Abort", "crashed");
}

#[test]
fn a_tuple_that_overflows_the_stack_ends_in_the_dead_letters() {
    kills("Overflow", "crashed");
}

#[test]
fn a_tuple_that_exhausts_memory_ends_in_the_dead_letters() {
    kills("Memory", "crashed");
}

#[test]
fn a_tuple_that_is_an_error_ends_in_the_dead_letters() {
    kills("Error", "error");
}

/// Whatever else were counted would be given up, too.
#[test]
fn one_attempt_is_counted_against_the_poison_alone() {
    for (workers, lines) in [(1, false), (2, true)] {
        let finished = run(&Case {
            how: "Panic",
            reason: "panicked",
            workers,
            attempts: 1,
            lines,
        });
        assert_eq!(restarts(&finished), 1, "{workers} workers, {finished:?}");
    }
}

/// By its own limit: what answers the watchdog goes on all the time.
#[test]
fn a_tuple_that_a_task_is_stuck_on_ends_in_the_dead_letters() {
    for (workers, lines) in [(1, false), (2, true)] {
        let finished = run(&Case {
            how: "Stuck",
            reason: "stuck",
            workers,
            attempts: 2,
            lines,
        });
        assert_eq!(restarts(&finished), 2, "{workers} workers, {finished:?}");
        assert!(!finished.stderr.contains("does not answer"), "{finished:?}");
    }
}

#[test]
fn a_tuple_at_which_a_component_ends_the_process_ends_in_the_dead_letters() {
    run(&Case {
        how: "Exit",
        reason: "exited",
        workers: 2,
        attempts: 3,
        lines: false,
    });
}

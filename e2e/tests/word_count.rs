//! Word count over real text: in one process, in three, and with the words of the README.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::collections::BTreeMap;
use std::time::Duration;

use nix::sys::signal::Signal;
use waterspout_e2e::{Finished, Run, printed_counts, repository, sample_counts, wait_for};

const MANIFEST: &str = "examples/wordcount/topology.yaml";

fn counted(stdout: &str) -> BTreeMap<String, u64> {
    assert!(stdout.lines().all(|line| line.contains('\t')), "{stdout}");
    printed_counts(stdout)
}

fn run(args: &[&str]) -> Finished {
    let path = repository().join(MANIFEST);
    let args = [&["run", path.to_str().unwrap()], args].concat();
    let finished = Run::start(args).finish(Duration::from_secs(60));
    assert!(finished.status.success(), "{finished:?}");
    finished
}

#[test]
fn one_process_prints_each_word_and_its_count_once() {
    let finished = run(&[]);
    assert_eq!(counted(&finished.stdout), sample_counts());
    let lines: u64 = std::fs::read_dir(repository().join("examples/wordcount/text"))
        .unwrap()
        .map(|file| {
            std::fs::read_to_string(file.unwrap().path())
                .unwrap()
                .lines()
                .count() as u64
        })
        .sum();
    let summary = finished.stderr.lines().last().unwrap();
    assert!(
        summary.starts_with("wordcount complete in ") && summary.contains(" acked, 0 failed"),
        "{summary}"
    );
    let acked: String = summary
        .split(" acked")
        .next()
        .unwrap()
        .rsplit(' ')
        .next()
        .unwrap()
        .replace(',', "");
    assert_eq!(acked.parse::<u64>().unwrap(), lines);
}

#[test]
fn three_processes_print_the_same() {
    assert_eq!(counted(&run(&["--workers", "3"]).stdout), sample_counts());
}

#[test]
fn json_output_is_tuples_on_stdout_and_a_summary_on_stderr() {
    for workers in ["1", "2"] {
        let finished = run(&["--output", "json", "--workers", workers]);
        let counts: BTreeMap<String, u64> = finished
            .stdout
            .lines()
            .map(|line| {
                let tuple: serde_json::Value = serde_json::from_str(line).unwrap();
                (
                    tuple["word"].as_str().unwrap().to_owned(),
                    tuple["count"].as_u64().unwrap(),
                )
            })
            .collect();
        assert_eq!(counts, sample_counts());
        let summary: serde_json::Value =
            serde_json::from_str(finished.stderr.lines().last().unwrap()).unwrap();
        assert_eq!(summary["state"], "complete");
        assert_eq!(summary["failed"], 0);
        assert!(
            summary["latencyMicros"]["p99"].as_u64().unwrap()
                >= summary["latencyMicros"]["p50"].as_u64().unwrap()
        );
    }
}

#[test]
fn quiet_says_nothing() {
    assert_eq!(run(&["--quiet"]).stderr, "");
}

const ENDLESS: &str = "
apiVersion: waterspout.dev/v1alpha1
kind: Topology
metadata: {name: endless}
spec:
  spouts:
  - name: numbers
    generator: {rate: 5000, shape: {sequence: {}}}
    streams: [{fields: [number]}]
  bolts:
  - name: out
    inputs: [{from: numbers}]
    stdout: {}
";

#[test]
fn ctrl_c_and_sigterm_drain_and_end_well() {
    let (_directory, path) = waterspout_e2e::manifest(ENDLESS);
    for (workers, signal) in [
        ("1", Signal::SIGINT),
        ("1", Signal::SIGTERM),
        ("3", Signal::SIGTERM),
    ] {
        let run = Run::start(["run", path.to_str().unwrap(), "--workers", workers]);
        wait_for("tuples", Duration::from_secs(20), || {
            (run.stdout().lines().count() > 100).then_some(())
        });
        run.signal(signal);
        let finished = run.finish(Duration::from_secs(20));
        assert!(finished.status.success(), "{finished:?}");
        let summary = finished.stderr.lines().last().unwrap();
        assert!(summary.starts_with("endless stopped in "), "{summary}");
        // What was emitted was also printed: every number from 0 on, without a gap.
        let mut numbers: Vec<u64> = finished
            .stdout
            .lines()
            .map(|line| line.parse().unwrap())
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.last().map(|last| *last as usize + 1), Some(numbers.len()));
    }
}

#[test]
fn no_process_outlives_the_program() {
    let (_directory, path) = waterspout_e2e::manifest(ENDLESS);
    let run = Run::start(["run", path.to_str().unwrap(), "--workers", "3"]);
    let workers = wait_for("three workers", Duration::from_secs(20), || {
        let workers = run.workers();
        (workers.len() == 3 && workers.iter().all(|worker| worker.1.is_some())).then_some(workers)
    });
    run.signal(Signal::SIGKILL);
    wait_for("all processes to end", Duration::from_secs(10), || {
        let all = workers
            .iter()
            .flat_map(|(parent, child)| [Some(*parent), *child])
            .flatten();
        let alive = all.filter(|process| is_alive(*process)).count();
        (alive == 0).then_some(())
    });
}

fn is_alive(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    state.is_some_and(|state| state != 'Z')
}

//! A worker's process that does not answer is ended by its parent and started again.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use waterspout_e2e::{Run, manifest, wait_for};

#[test]
fn a_stopped_worker_process_is_replaced_within_seconds_and_nothing_is_lost() {
    let (directory, path) = manifest(
        "
apiVersion: waterspout.dev/v1alpha1
kind: Topology
metadata: {name: stopped}
spec:
  spouts:
  - name: numbers
    generator: {count: 400000, rate: 50000, shape: {sequence: {}}}
    streams: [{fields: [number]}]
  bolts:
  - name: out
    replicas: 2
    inputs: [{from: numbers}]
    file: {directory: out}
",
    );
    let run = Run::start([
        "run",
        path.to_str().unwrap(),
        "--quiet",
        "--workers",
        "2",
        "--log",
        "info",
    ]);
    let (parent, child) = wait_for("a worker that works", Duration::from_secs(20), || {
        let workers = run.workers();
        let working = run.stderr().matches("started epoch").count() == 2;
        workers.last().copied().filter(|_| working && workers.len() == 2)
    });
    let child = child.unwrap();
    kill(Pid::from_raw(child as i32), Signal::SIGSTOP).unwrap();
    let stopped = Instant::now();
    wait_for("a new process", Duration::from_secs(10), || {
        let now = run.workers().into_iter().find(|worker| worker.0 == parent)?.1?;
        (now != child).then_some(())
    });
    assert!(
        stopped.elapsed() > Duration::from_secs(2),
        "after {:?}",
        stopped.elapsed()
    );
    let finished = run.finish(Duration::from_secs(60));
    assert!(finished.status.success(), "{finished:?}");
    let mut seen = vec![false; 400_000];
    for file in std::fs::read_dir(directory.path().join("out")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        text.lines()
            .for_each(|line| seen[line.parse::<usize>().unwrap()] = true);
    }
    assert!(seen.iter().all(|seen| *seen), "a number is missing");
}

//! Wires that are cut, silent, slow or half-open, processes that stop and go on, starts in any order: what was in flight
//! fails at once, and everything arrives. The message timeout is 10 minutes, so it is not what saved anything.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use waterspout_e2e::{Crew, Mode, wait_for};

const NUMBERS: u64 = 120_000;
const PATIENCE: Duration = Duration::from_secs(60);
/// A peer is lost after 2.5 s without an answer, and a process is ended after 3 s.
const AT_ONCE: Duration = Duration::from_secs(6);

/// Starts the topology: numbers from one spout through bolts on all three workers into sinks on all three.
fn start(order: &[u32]) -> Crew {
    Crew::wired(
        &format!(
            "
apiVersion: waterspout.dev/v1alpha1
kind: Topology
metadata: {{name: wires}}
spec:
  delivery: {{timeout: 10m, maxPending: 20000}}
  spouts:
  - name: in
    generator: {{count: {NUMBERS}, rate: 40000, shape: {{sequence: {{}}}}}}
    streams: [{{fields: [number]}}]
  bolts:
  - name: middle
    replicas: 3
    inputs: [{{from: in}}]
    rust: {{component: fragile, config: {{how: Panic, poison: -2}}}}
    streams: [{{fields: [number]}}]
  - name: out
    replicas: 3
    inputs: [{{from: middle}}]
    file: {{directory: out}}
"
        ),
        order,
    )
}

/// What the spout counts of its roots under a name of the status.
fn roots(crew: &Crew, what: &str) -> u64 {
    let worker = crew.worker_of(0);
    let count = crew.status(worker).and_then(|status| {
        let tasks = status["tasks"].as_array()?;
        let spout = tasks.iter().find(|task| task["component"] == "in")?;
        spout[what].as_u64()
    });
    count.unwrap_or(0)
}

fn wait_flowing(crew: &Crew, more: u64) {
    let before = roots(crew, "acked");
    wait_for(&format!("{more} more roots"), PATIENCE, || {
        (roots(crew, "acked") >= before + more).then_some(())
    });
}

/// Waits until the spout has failed what was in flight.
fn wait_lost(crew: &Crew, since: Instant) {
    wait_for("what is in flight to be failed", AT_ONCE, || {
        (roots(crew, "lost") > 0).then_some(())
    });
    assert!(since.elapsed() < AT_ONCE);
}

/// Waits for the end, and looks whether everything has arrived.
fn finish(mut crew: Crew) {
    wait_for("the topology to complete", PATIENCE, || {
        (0..3).all(|worker| !crew.is_running(worker)).then_some(())
    });
    let mut seen = vec![false; NUMBERS as usize];
    for file in std::fs::read_dir(crew.path().join("out")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        text.lines()
            .for_each(|line| seen[line.parse::<usize>().unwrap()] = true);
    }
    assert_eq!(
        seen.iter().filter(|seen| !**seen).count(),
        0,
        "numbers are missing"
    );
    assert_eq!(roots(&crew, "timedOut"), 0);
}

/// The two workers that the spout is not on.
fn others(crew: &Crew) -> (u32, u32) {
    let spout = crew.worker_of(0);
    ((spout + 1) % 3, (spout + 2) % 3)
}

fn signal(process: u32, signal: Signal) {
    kill(Pid::from_raw(process as i32), signal).unwrap();
}

/// A fault of the wires between two workers that have bolts only.
fn between_two_bolts(mode: Mode) {
    let crew = start(&[0, 1, 2]);
    let (one, two) = others(&crew);
    wait_flowing(&crew, 20_000);
    let since = Instant::now();
    for (from, to) in [(one, two), (two, one)] {
        crew.wire(from, to).set(mode);
    }
    wait_lost(&crew, since);
    // Shuffle goes round the workers that have lost each other, so roots are acked meanwhile.
    for (from, to) in [(one, two), (two, one)] {
        crew.wire(from, to).set(Mode::Pass);
    }
    finish(crew);
}

#[test]
fn a_cut_between_two_bolts_workers_fails_at_once_what_was_in_flight() {
    between_two_bolts(Mode::Cut);
}

#[test]
fn a_silent_wire_between_two_bolts_workers_fails_at_once_what_was_in_flight() {
    between_two_bolts(Mode::Silent);
}

#[test]
fn a_half_open_wire_between_two_bolts_workers_fails_at_once_what_was_in_flight() {
    between_two_bolts(Mode::NoAnswers);
}

#[test]
fn a_slow_wire_loses_nothing_and_fails_nothing() {
    let crew = start(&[0, 1, 2]);
    let (one, two) = others(&crew);
    wait_flowing(&crew, 10_000);
    let wires = [(one, two), (two, one), (crew.worker_of(0), one)];
    for (from, to) in wires {
        crew.wire(from, to).set(Mode::Slow(8_000));
    }
    wait_flowing(&crew, 10_000);
    for (from, to) in wires {
        crew.wire(from, to).set(Mode::Pass);
    }
    assert_eq!(roots(&crew, "lost"), 0);
    finish(crew);
}

#[test]
fn a_killed_process_fails_at_once_what_was_in_flight() {
    let crew = start(&[0, 1, 2]);
    wait_flowing(&crew, 20_000);
    let since = Instant::now();
    signal(crew.process(others(&crew).0).unwrap(), Signal::SIGKILL);
    wait_lost(&crew, since);
    finish(crew);
}

#[test]
fn a_stopped_process_fails_at_once_what_was_in_flight() {
    let crew = start(&[0, 1, 2]);
    wait_flowing(&crew, 20_000);
    let since = Instant::now();
    signal(crew.process(others(&crew).0).unwrap(), Signal::SIGSTOP);
    wait_lost(&crew, since);
    finish(crew);
}

/// Its parent is stopped as well, so that nobody ends it: it goes on as if nothing had been.
#[test]
fn a_process_that_was_given_up_and_goes_on_harms_nobody() {
    let crew = start(&[0, 1, 2]);
    let zombie = others(&crew).0;
    wait_flowing(&crew, 20_000);
    let (parent, child) = (crew.parent(zombie), crew.process(zombie).unwrap());
    let since = Instant::now();
    signal(parent, Signal::SIGSTOP);
    signal(child, Signal::SIGSTOP);
    wait_lost(&crew, since);
    signal(child, Signal::SIGCONT);
    signal(parent, Signal::SIGCONT);
    finish(crew);
}

#[test]
fn a_process_that_sleeps_through_the_plan_of_an_epoch_drops_what_is_of_the_one_before() {
    let mut crew = start(&[0, 1, 2]);
    let zombie = others(&crew).0;
    wait_flowing(&crew, 20_000);
    let (parent, child) = (crew.parent(zombie), crew.process(zombie).unwrap());
    signal(parent, Signal::SIGSTOP);
    signal(child, Signal::SIGSTOP);
    let since = Instant::now();
    crew.change(3, true);
    wait_lost(&crew, since);
    signal(child, Signal::SIGCONT);
    signal(parent, Signal::SIGCONT);
    crew.wait_started();
    finish(crew);
}

#[test]
fn workers_that_start_in_another_order_come_together() {
    finish(start(&[2, 1, 0]));
    finish(start(&[1, 2, 0]));
}

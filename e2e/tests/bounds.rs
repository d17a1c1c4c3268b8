//! Memory stays under the limit that ARCHITECTURE.md derives, whatever the size of values and however slow who takes them;
//! and a path that does not feed the slow one keeps its rate.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]
#![allow(
    clippy::print_stdout,
    reason = "the figures are part of what these tests are for"
)]

use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use waterspout_e2e::{Run, manifest, program, wait_for};

const MIB: u64 = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(120);
/// Tuples a second of the path that is not slow.
const RATE: u64 = 5_000;
/// How long its rate is watched.
const WATCHED: Duration = Duration::from_secs(3);

/// What a worker process has before any tuple, and what the allocator keeps.
const BASE: u64 = 60 * MIB;
/// The roots of a spout task and the ledger of them.
const PENDING: u64 = 64 * MIB;
const LEDGER: u64 = 5 * MIB;
/// What closes an inbox.
const INBOX: u64 = MIB;
/// What ends a run of a task, a row apart.
const RUN: u64 = MIB / 8;

/// The most memory of a process with so many spout tasks, tasks of blocking bolts, tasks in all, and other workers, for rows of
/// `row` bytes; see ARCHITECTURE.md.
fn limit(spouts: u64, blocking: u64, tasks: u64, others: u64, row: u64) -> u64 {
    // A row is in the spout's hands, in the frame that it comes in and in the one that it goes out with, while it is worked on
    // by one of the threads; a frame that grows has up to twice its bytes.
    let threads = std::thread::available_parallelism().map_or(2, |threads| threads.get() as u64);
    let in_work = (threads + spouts + blocking) * 4 * row;
    // What is on its way to another worker and not on the wire yet: three messages, and what is being written.
    let on_the_way = others * 4 * (MIB / 4 + row);
    let rows = (spouts * (PENDING + row)).min(tasks * (1 + others) * (INBOX + threads * (RUN + row)));
    // Ends of rows, lineage and groups of roots take up to as much as small rows do.
    let beside = if row < 64 { 8 * rows } else { rows / 4 };
    BASE + spouts * LEDGER + rows + beside + in_work + on_the_way
}

/// The most memory that a process ever had, while it runs.
fn peak_memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

fn start(directory: &TempDir, workers: u64) -> Run {
    let mut command = Command::new(program("fragile-worker"));
    command.arg("run").arg(directory.path().join("topology.yaml"));
    if workers > 1 {
        command.args(["--workers", &workers.to_string()]);
    }
    command.args(["--quiet"]);
    Run::of(command)
}

/// The processes that have tasks.
fn processes(run: &Run, workers: u64) -> Vec<u32> {
    if workers == 1 {
        return vec![run.id()];
    }
    run.workers().into_iter().filter_map(|(_, child)| child).collect()
}

#[test]
fn values_of_16_mib_go_through_100_tasks_in_bounded_memory() {
    const COUNT: u64 = 40;
    // Nearly: with what belongs to it, the row is 16 MiB.
    let bytes = (16 * MIB) - 16;
    let mut text = format!(
        "
apiVersion: waterspout.dev/v1alpha1
kind: Topology
metadata: {{name: heavy}}
spec:
  spouts:
  - name: step0
    rust: {{component: values, config: {{bytes: {bytes}, count: {COUNT}}}}}
    streams: [{{fields: [value]}}]
  bolts:
"
    );
    for step in 1..=14 {
        text.push_str(&format!(
            "  - {{name: step{step}, replicas: 7, inputs: [{{from: step{}}}], rust: {{component: copy}}, streams: [{{fields: [value]}}]}}\n",
            step - 1
        ));
    }
    text.push_str(
        "  - {name: out, inputs: [{from: step14}], rust: {component: slow, config: {millis: 20}}}\n",
    );
    for workers in [1, 2] {
        let (directory, _) = manifest(&text);
        let mut run = start(&directory, workers);
        let mut peak = 0;
        wait_for("the end of the run", PATIENCE, || {
            peak = processes(&run, workers)
                .into_iter()
                .map(peak_memory)
                .fold(peak, u64::max);
            (!run.is_running()).then_some(())
        });
        let finished = run.finish(PATIENCE);
        assert!(finished.status.success(), "{finished:?}");
        let limit = limit(1, 1, 100, workers - 1, 16 * MIB);
        println!(
            "16 MiB in {workers} processes: {} of {} MiB",
            peak / MIB,
            limit / MIB
        );
        assert!(peak < limit, "{} of {} MiB", peak / MIB, limit / MIB);
    }
}

/// What the sink of the path that is not slow has written.
fn written(directory: &TempDir) -> u64 {
    let files = std::fs::read_dir(directory.path().join("out"))
        .into_iter()
        .flatten()
        .flatten();
    let counts = files.map(|file| {
        let bytes = std::fs::read(file.path()).unwrap_or_default();
        bytes.iter().filter(|byte| **byte == b'\n').count() as u64
    });
    counts.sum()
}

/// A path that is slow, or never done, beside one that is not, which shares all processes with it.
fn beside(bytes: u64, slowness: &str) {
    for workers in [1, 2] {
        let (directory, _) = manifest(&format!(
            "
apiVersion: waterspout.dev/v1alpha1
kind: Topology
metadata: {{name: beside}}
spec:
  delivery: {{timeout: 1h}}
  spouts:
  - name: values
    rust: {{component: values, config: {{bytes: {bytes}}}}}
    streams: [{{fields: [value]}}]
  - name: numbers
    generator: {{rate: {RATE}, shape: {{sequence: {{}}}}}}
    streams: [{{fields: [number]}}]
  bolts:
  - {{name: copy, replicas: 4, inputs: [{{from: values}}], rust: {{component: copy}}, streams: [{{fields: [value]}}]}}
  - {{name: slow, replicas: 2, inputs: [{{from: copy}}], rust: {{component: slow, config: {slowness}}}}}
  - {{name: same, replicas: 2, inputs: [{{from: numbers}}], rust: {{component: fragile, config: {{how: Panic, poison: -2}}}}, streams: [{{fields: [number]}}]}}
  - {{name: out, replicas: 2, inputs: [{{from: same}}], file: {{directory: out}}}}
"
        ));
        let run = start(&directory, workers);
        wait_for("numbers to flow", PATIENCE, || {
            (written(&directory) > RATE).then_some(())
        });
        // By now the slow path is full.
        let (began, before) = (Instant::now(), written(&directory));
        wait_for("some time to pass", PATIENCE, || {
            (began.elapsed() >= WATCHED).then_some(())
        });
        let rate = (written(&directory) - before) as f64 / began.elapsed().as_secs_f64();
        let peak = processes(&run, workers)
            .into_iter()
            .map(peak_memory)
            .max()
            .unwrap();
        let limit = limit(2, 2, 12, workers - 1, bytes + 16);
        println!(
            "{bytes} B, {slowness}, {workers} processes: {rate:.0} a second, {} of {} MiB",
            peak / MIB,
            limit / MIB
        );
        assert!(rate > 0.8 * RATE as f64, "{rate:.0} of {RATE} a second");
        assert!(peak < limit, "{} of {} MiB", peak / MIB, limit / MIB);
    }
}

#[test]
fn a_dead_sink_of_small_tuples_bounds_memory_and_slows_nobody_else() {
    beside(10, "{}");
}

#[test]
fn a_dead_sink_of_tuples_of_1_kb_bounds_memory_and_slows_nobody_else() {
    beside(1_000, "{}");
}

#[test]
fn a_dead_sink_of_values_of_16_mib_bounds_memory_and_slows_nobody_else() {
    beside(16 * MIB - 16, "{}");
}

#[test]
fn a_slow_task_of_small_tuples_bounds_memory_and_slows_nobody_else() {
    beside(10, "{millis: 1}");
}

#[test]
fn a_slow_task_of_tuples_of_1_kb_bounds_memory_and_slows_nobody_else() {
    beside(1_000, "{millis: 1}");
}

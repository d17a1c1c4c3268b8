//! A gigabyte of text: right counts, and bounded memory in every process.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]
#![allow(
    clippy::print_stdout,
    reason = "the figures are part of what these tests are for"
)]

use std::io::{BufWriter, Write};
use std::time::{Duration, Instant};

use waterspout_e2e::{Run, manifest, wait_for};

const GIGABYTE: u64 = 1 << 30;
const MAX_MEMORY: u64 = 150 << 20;

/// The most memory that a process ever had, in bytes, while it runs.
fn peak_memory(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? << 10)
}

#[test]
fn a_gigabyte_is_counted_right_in_bounded_memory_in_one_process_and_in_three() {
    let (directory, path) = manifest(
        "
apiVersion: waterspout.dev/v1alpha1
kind: Topology
metadata: {name: large}
spec:
  spouts:
  - name: lines
    replicas: 3
    file: {path: large.txt}
    streams: [{fields: [line]}]
  bolts:
  - name: split
    replicas: 3
    inputs: [{from: lines}]
    split: {field: line}
    streams: [{fields: [word]}]
  - name: count
    replicas: 3
    inputs: [{from: split, fields: [word]}]
    count: {by: [word], emit: AtFinish}
    streams: [{fields: [word, count]}]
  - name: out
    inputs: [{from: count, global: {}}]
    stdout: {}
",
    );
    let mut counts = vec![0u64; 5000];
    let mut text = BufWriter::new(std::fs::File::create(directory.path().join("large.txt")).unwrap());
    let (mut written, mut random) = (0, 1u64);
    let mut line = String::new();
    while written < GIGABYTE {
        line.clear();
        for _ in 0..10 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let word = (random >> 33) as usize % counts.len();
            counts[word] += 1;
            line.push_str("word");
            line.push_str(&word.to_string());
            line.push(' ');
        }
        line.push('\n');
        text.write_all(line.as_bytes()).unwrap();
        written += line.len() as u64;
    }
    text.flush().unwrap();
    for workers in ["1", "3"] {
        let started = Instant::now();
        let mut run = Run::start(["run", path.to_str().unwrap(), "--workers", workers, "--quiet"]);
        let mut peak = 0;
        wait_for("the end of the run", Duration::from_secs(240), || {
            let all = run
                .workers()
                .into_iter()
                .flat_map(|(parent, child)| [Some(parent), child])
                .flatten();
            peak = all.chain([run.id()]).filter_map(peak_memory).fold(peak, u64::max);
            (!run.is_running()).then_some(())
        });
        let seconds = started.elapsed().as_secs_f64();
        let finished = run.finish(Duration::from_secs(1));
        assert!(finished.status.success(), "{finished:?}");
        let mut found = vec![0u64; counts.len()];
        for line in finished.stdout.lines() {
            let (word, count) = line.split_once('\t').unwrap();
            found[word.strip_prefix("word").unwrap().parse::<usize>().unwrap()] +=
                count.parse::<u64>().unwrap();
        }
        assert_eq!(found, counts);
        println!(
            "1 GB in {workers} processes: {seconds:.1} s, at most {} MB in any process",
            peak >> 20
        );
        assert!(peak < MAX_MEMORY, "{} MB", peak >> 20);
    }
}

//! Programs of scripts that take too much or too long, and what scripts do besides answering: ticks, held tuples.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::time::Duration;

use waterspout_e2e::{Finished, Run, manifest};

/// Runs a script over the numbers below 300, in a directory of its own.
fn run(script: &str, settings: &str) -> Finished {
    run_in(script, "python", settings)
}

fn run_in(script: &str, language: &str, settings: &str) -> Finished {
    let indented = script.replace('\n', "\n        ");
    let text = format!(
        "apiVersion: waterspout.dev/v1alpha1
kind: Topology
metadata: {{name: limits}}
spec:
  spouts:
  - name: numbers
    generator: {{count: 300, rate: 150, shape: {{sequence: {{}}}}}}
    streams: [{{fields: [number]}}]
  bolts:
  - name: script
    inputs: [{{from: numbers}}]
{settings}
    script:
      limits: {{answerTimeout: 500ms, memory: 100Mi}}
      {language}: |
        {indented}
    streams: [{{fields: [number]}}]
  - name: out
    inputs: [{{from: script, global: {{}}}}]
    stdout: {{}}
"
    );
    let (_directory, path) = manifest(&text);
    Run::start(["run", path.to_str().unwrap()]).finish(Duration::from_secs(60))
}

/// The numbers that were printed, each as often as it was.
fn printed(finished: &Finished) -> Vec<u64> {
    assert!(finished.status.success(), "{finished:?}");
    let mut numbers: Vec<u64> = finished
        .stdout
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    numbers.sort_unstable();
    numbers
}

/// That all numbers were printed, some perhaps again.
fn assert_all(finished: &Finished) {
    let mut numbers = printed(finished);
    numbers.dedup();
    assert_eq!(numbers, (0..300).collect::<Vec<_>>());
}

/// What a program does wrong when it first sees number 100. The next one finds the file, and does not.
fn once(wrong: &str) -> String {
    format!(
        "import os, threading
def process(tup):
    if tup.number == 100 and not os.path.exists('seen'):
        open('seen', 'x').close()
        {wrong}
    yield (tup.number,)"
    )
}

#[test]
fn a_program_that_takes_too_much_memory_is_ended_and_no_tuple_is_lost() {
    let finished = run(&once("grown = b'x' * (200 << 20); threading.Event().wait()"), "");
    assert_all(&finished);
    let said = "MiB of memory, and 100 MiB are the most; raise 'limits.memory'";
    assert!(finished.stderr.contains(said), "{finished:?}");
}

#[test]
fn a_program_that_does_not_answer_is_ended_and_no_tuple_is_lost() {
    let finished = run(&once("threading.Event().wait()"), "");
    assert_all(&finished);
    let said = "it has not answered for 500ms; raise 'limits.answerTimeout'";
    assert!(finished.stderr.contains(said), "{finished:?}");
}

#[test]
fn a_program_that_says_that_it_is_alive_may_take_its_time() {
    let script = once("for _ in range(4): threading.Event().wait(0.3); alive()");
    let finished = run(&script, "");
    assert_eq!(printed(&finished), (0..300).collect::<Vec<_>>());
    assert!(!finished.stderr.contains("has not answered"), "{finished:?}");
}

#[test]
fn a_script_gets_ticks_and_what_it_emits_then_goes_on() {
    let script = "
sum = 0
def process(tup):
    global sum
    sum += tup.number
def tick():
    global sum
    if sum:
        yield (sum,)
    sum = 0
def finish():
    yield from tick()";
    let finished = run(script, "    tickEvery: 50ms");
    let sums = printed(&finished);
    assert_eq!(sums.iter().sum::<u64>(), 299 * 300 / 2);
    assert!(sums.len() >= 3, "{sums:?}");
}

#[test]
fn tuples_that_a_script_holds_are_acked_with_what_is_emitted_for_them() {
    // Ten numbers become one, anchored to all of them. The first such sum fails once, and so all ten come again.
    let script = "
import os
held = []
def process(tup):
    held.append((hold(), tup.number))
    if len(held) < 10:
        return
    ids, numbers = zip(*held)
    held.clear()
    if not os.path.exists('seen'):
        open('seen', 'x').close()
        for id in ids:
            fail(id)
        return
    yield emit('default', sum(numbers), anchors=ids)
    for id in ids:
        ack(id)";
    let in_javascript = "
const held = [];
function process(tup) {
  held.push([hold(), tup.number]);
  if (held.length < 10) return undefined;
  const ids = held.map(([id]) => id);
  const sum = held.reduce((sum, [, number]) => sum + number, 0);
  held.length = 0;
  const fs = require('node:fs');
  if (!fs.existsSync('seen')) {
    fs.writeFileSync('seen', '');
    ids.forEach(fail);
    return undefined;
  }
  ids.forEach((id) => ack(id));
  return [emit('default', [sum], { anchors: ids })];
}";
    for (language, script) in [("python", script), ("javascript", in_javascript)] {
        let finished = run_in(script, language, "");
        let sums = printed(&finished);
        assert_eq!(
            (sums.len(), sums.iter().sum::<u64>()),
            (30, 299 * 300 / 2),
            "{language}"
        );
        assert!(finished.stderr.contains(" 10 failed"), "{finished:?}");
    }
}

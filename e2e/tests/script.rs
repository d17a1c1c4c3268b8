//! Components in other languages, in whole topologies run by the program.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::path::Path;
use std::time::Duration;

use waterspout_e2e::{Finished, Run, manifest, printed_counts, repository, sample_counts};

fn run(path: &Path, args: &[&str]) -> Finished {
    let args = [&["run", path.to_str().unwrap()], args].concat();
    Run::start(args).finish(Duration::from_secs(60))
}

/// A topology that hands the numbers below `count` to a script.
fn numbers(count: u32, script: &str, streams: &str) -> String {
    format!(
        "apiVersion: waterspout.dev/v1alpha1
kind: Topology
metadata: {{name: numbers}}
spec:
  spouts:
  - name: numbers
    generator: {{count: {count}, shape: {{sequence: {{}}}}}}
    streams: [{{fields: [number]}}]
  bolts:
  - name: script
    inputs: [{{from: numbers}}]
{script}
    streams: {streams}
"
    )
}

#[test]
fn word_count_in_python_gives_the_same_counts_as_in_rust() {
    let path = repository().join("examples/wordcount/python.yaml");
    for args in [&[][..], &["--workers", "2"]] {
        let finished = run(&path, args);
        assert!(finished.status.success(), "{finished:?}");
        assert_eq!(printed_counts(&finished.stdout), sample_counts());
    }
}

#[test]
fn a_script_that_cannot_be_loaded_ends_the_run_with_its_traceback() {
    let text = numbers(
        10,
        "    script: {python: \"def process(tup): return nothing_there(\\n\"}",
        "[]",
    );
    let (_directory, path) = manifest(&text);
    let finished = run(&path, &[]);
    assert!(!finished.status.success());
    for words in ["component 'script' cannot be kept alive", "SyntaxError"] {
        assert!(finished.stderr.contains(words), "no {words:?} in {finished:?}");
    }
}

//! What `waterspout new` makes is tested and run as its page says.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use waterspout_e2e::{Run, repository, target};

/// What is built anew, for it is no part of the workspace of a new worker.
const CRATES: [&str; 4] = ["core", "api", "worker", "cli"];

/// Runs cargo in the folder of a new worker. It has the versions of libraries that this repository has, and takes what is built of
/// them already; the rest is built in less time than it takes to make it fast.
fn cargo(directory: &Path, args: &[&str]) -> Output {
    let slow = CRATES.map(|name| format!("profile.release.package.waterspout-{name}.opt-level=0"));
    Command::new(env!("CARGO"))
        .args(slow.iter().flat_map(|setting| ["--config", setting]))
        .args(args)
        .current_dir(directory)
        .env("CARGO_TARGET_DIR", target())
        .env("CARGO_TERM_COLOR", "never")
        .output()
        .unwrap()
}

#[test]
fn a_new_worker_is_tested_run_and_refused_a_second_time() {
    let directory = tempfile::tempdir().unwrap();
    let worker = directory.path().join("workers/loud");
    let path = worker.to_str().unwrap();
    let made = Run::start(["new", "loud-worker", "--dir", path]).finish(Duration::from_secs(10));
    assert!(made.status.success(), "{made:?}");
    let expected = format!("made '{path}', which is built with the checkout");
    assert!(made.stdout.starts_with(&expected), "{}", made.stdout);
    std::fs::copy(repository().join("Cargo.lock"), worker.join("Cargo.lock")).unwrap();

    let tested = cargo(&worker, &["test", "--release", "--quiet"]);
    assert!(tested.status.success(), "{tested:?}");
    let passed = String::from_utf8_lossy(&tested.stdout);
    assert!(passed.contains("1 passed"), "{passed}");
    let run = [
        "run",
        "--release",
        "--quiet",
        "--",
        "run",
        "topology.yaml",
        "--quiet",
    ];
    let ran = cargo(&worker, &run);
    assert!(ran.status.success(), "{ran:?}");
    let mut words: Vec<&str> = std::str::from_utf8(&ran.stdout).unwrap().lines().collect();
    words.sort_unstable();
    assert_eq!(words, ["GRÖSSER", "JUMPED", "SMALL"]);

    let again = Run::start(["new", "loud-worker", "--dir", path]).finish(Duration::from_secs(10));
    assert_eq!(again.status.code(), Some(1));
    assert!(again.stderr.contains("exists; take another name"), "{again:?}");
}

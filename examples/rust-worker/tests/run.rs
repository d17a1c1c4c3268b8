//! The example runs as its page says, in one process and in two.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::process::{Command, Output};

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rust-worker"))
        .args(args)
        .output()
        .unwrap()
}

fn topology() -> String {
    format!("{}/topology.yaml", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_topology_runs_with_its_own_bolt_in_one_process_and_in_two() {
    for workers in ["1", "2"] {
        let ended = run(&["run", &topology(), "--quiet", "--workers", workers]);
        assert!(ended.status.success(), "{ended:?}");
        let mut words: Vec<&str> = std::str::from_utf8(&ended.stdout).unwrap().lines().collect();
        words.sort_unstable();
        assert_eq!(words, ["GRÖSSER", "JUMPED", "SMALL"], "with {workers} workers");
    }
}

#[test]
fn settings_that_the_bolt_does_not_know_are_refused_at_the_start() {
    let directory = std::env::temp_dir().join(format!("rust-worker-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("text.txt"), "a line\n").unwrap();
    let wrong = std::fs::read_to_string(topology())
        .unwrap()
        .replace("at_least", "atLeast");
    let path = directory.join("topology.yaml");
    std::fs::write(&path, wrong).unwrap();
    let ended = run(&["run", path.to_str().unwrap(), "--quiet"]);
    std::fs::remove_dir_all(&directory).unwrap();
    let error = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!ended.status.success());
    for expected in [
        "`shout` has no field `atLeast`",
        "topology.yaml:20:39",
        "did you mean `at_least`?",
    ] {
        assert!(error.contains(expected), "{error}");
    }
}

//! Bad input: each gets an error that names the place and says what to do, and an exit code that is not 0.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use redis::Commands;
use waterspout_e2e::{Finished, RedisServer, Run, manifest, wait_for};

fn run<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Finished {
    Run::start(args).finish(Duration::from_secs(30))
}

/// Asserts that `waterspout COMMAND PATH` fails and says all of `expected` on standard error.
fn fails(command: &str, path: &Path, expected: &[&str]) {
    let finished = run([command, path.to_str().unwrap()]);
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    assert_eq!(finished.stdout, "");
    for text in expected {
        assert!(
            finished.stderr.contains(text),
            "'{text}' is not in:\n{}",
            finished.stderr
        );
    }
    assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
}

const HEAD: &str = "apiVersion: waterspout.dev/v1alpha1\nkind: Topology\nmetadata: {name: bad}\nspec:\n";
const SPOUT: &str = "  spouts:\n  - name: in\n    generator: {count: 10, shape: {sequence: {}}}\n    streams: [{fields: [number]}]\n";
const SINK: &str = "  bolts:\n  - name: out\n    inputs: [{from: in}]\n    stdout: {}\n";

#[test]
fn manifests_that_are_wrong_are_refused_with_their_place() {
    let good = format!("{HEAD}{SPOUT}{SINK}");
    let (_directory, path) = manifest(&good);
    assert!(run(["validate", path.to_str().unwrap()]).status.success());
    let cases: [(String, &[&str]); 19] = [
        (String::new(), &["topology.yaml:1:1", "apiVersion"]),
        ("{{{ no yaml".into(), &["topology.yaml:1:"]),
        (
            good.replace("  - name: out", "\t- name: out"),
            &["tab", "topology.yaml:10:"],
        ),
        (format!("{good}---\n{good}"), &["Topology", "topology.yaml:15:"]),
        (
            good.replace("stdout: {}", "stdout: {colour: red}"),
            &["colour", "topology.yaml:12:"],
        ),
        (good.replace("count: 10", "count: ten"), &["topology.yaml:7:"]),
        (
            good.replace("from: in}", "from: inn}"),
            &["inn", "did you mean", "topology.yaml:11:"],
        ),
        (
            good.replace("from: in}", "from: in, stream: other}"),
            &["other", "topology.yaml:11:"],
        ),
        (
            good.replace("from: in}", "from: in, fields: [nummer]}"),
            &["nummer", "topology.yaml:11:"],
        ),
        (
            good.replace("name: out", "name: in"),
            &["in", "topology.yaml:10:"],
        ),
        (
            good.replace("name: out", "name: __out"),
            &["__out", "topology.yaml:10:"],
        ),
        (
            good.replace("    generator", "    inputs: [{from: out}]\n    generator"),
            &["inputs", "topology.yaml:7:"],
        ),
        (
            good.replace("inputs: [{from: in}]", "inputs: [{from: out}]"),
            &["topology.yaml:11:"],
        ),
        (format!("{HEAD}{SINK}"), &["spouts"]),
        (good.replace("count: 10", "count: -1"), &["topology.yaml:7:"]),
        (
            good.replace("- name: in\n", "- name: in\n    replicas: 0\n"),
            &["replicas", "topology.yaml:7:"],
        ),
        (
            good.replace("- name: in\n", "- name: in\n    replicas: 99999999999\n"),
            &["topology.yaml:7:"],
        ),
        (
            good.replace("stdout: {}", "stdout: {}\n    count: {by: [number]}"),
            &["stdout", "count"],
        ),
        (good.replace("name: bad", "name: Bad_Name"), &["topology.yaml:3:"]),
    ];
    for (text, expected) in cases {
        let (_directory, path) = manifest(&text);
        fails("validate", &path, expected);
        fails("run", &path, expected);
    }
}

#[test]
fn files_that_cannot_be_read_are_refused() {
    let (directory, path) = manifest("");
    fails(
        "validate",
        &directory.path().join("none.yaml"),
        &["none.yaml", "no such file"],
    );
    fails("run", directory.path(), &["is a directory"]);
    std::fs::write(&path, b"kind: \xff").unwrap();
    fails("validate", &path, &["not UTF-8 (byte 6, line 1)"]);
    let json = run(["validate", "--output", "json", path.to_str().unwrap()]);
    assert_eq!(json.status.code(), Some(1));
    let line: serde_json::Value = serde_json::from_str(json.stdout.trim()).unwrap();
    assert_eq!(line["valid"], false);
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    // Root may read everything.
    if std::fs::read(&path).is_err() {
        fails("validate", &path, &["may not read it"]);
    }
}

fn file_topology(path: &str, sink: &str) -> String {
    format!(
        "{HEAD}  spouts:\n  - name: in\n    file: {{path: '{path}'}}\n    streams: [{{fields: [line]}}]\n  bolts:\n  - name: out\n    inputs: [{{from: in}}]\n    {sink}\n"
    )
}

#[test]
fn input_files_that_are_missing_or_not_text_end_the_run_with_their_name() {
    let (directory, path) = manifest(&file_topology("none/*.txt", "stdout: {}"));
    fails(
        "run",
        &path,
        &["start component 'in'", "no file matches 'none/*.txt'"],
    );
    std::fs::write(&path, file_topology(".", "stdout: {}")).unwrap();
    fails("run", &path, &["is a directory"]);
    std::fs::write(directory.path().join("bad.txt"), b"good\nb\xffd\n").unwrap();
    std::fs::write(&path, file_topology("bad.txt", "stdout: {}")).unwrap();
    let finished = run(["run", path.to_str().unwrap()]);
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    assert!(
        finished.stderr.contains("bad.txt' is not UTF-8 at byte 6"),
        "{}",
        finished.stderr
    );
}

#[test]
fn a_disk_that_is_full_ends_the_run_and_nothing_is_acked_that_was_not_written() {
    let (directory, path) = manifest(&file_topology("in.txt", "file: {directory: out}"));
    std::fs::write(directory.path().join("in.txt"), "a\nb\n").unwrap();
    std::fs::create_dir(directory.path().join("out")).unwrap();
    std::os::unix::fs::symlink("/dev/full", directory.path().join("out/out-0.txt")).unwrap();
    let finished = run(["run", path.to_str().unwrap()]);
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    assert!(
        finished.stderr.contains("out-0.txt' ; make room")
            || finished.stderr.contains("make room on the disk"),
        "{}",
        finished.stderr
    );
}

#[test]
fn a_port_in_use_and_a_filter_that_is_none_are_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (_directory, path) = manifest(&format!("{HEAD}{SPOUT}{SINK}"));
    let finished = run(["run", path.to_str().unwrap(), "--http", &address]);
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    assert!(
        finished
            .stderr
            .contains(&format!("listen on {address}; is the port in use?")),
        "{}",
        finished.stderr
    );
    let finished = run(["run", path.to_str().unwrap(), "--log", "a=b=c"]);
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    let finished = run(["run", path.to_str().unwrap(), "--workers", "0"]);
    assert_eq!(finished.status.code(), Some(2), "{finished:?}");
}

#[test]
fn a_worker_refuses_a_plan_that_does_not_parse_and_is_not_started_again() {
    let directory = tempfile::tempdir().unwrap();
    let plan = directory.path().join("plan.json");
    let volume = directory.path().join("volume");
    for (text, expected) in [
        ("no plan", "does not parse"),
        ("{\"version\": 9}", "version 9, this worker reads 1"),
    ] {
        std::fs::write(&plan, text).unwrap();
        let args = [
            "worker",
            "--index",
            "0",
            "--plan",
            plan.to_str().unwrap(),
            "--volume",
            volume.to_str().unwrap(),
        ];
        let finished = run(args);
        assert_eq!(finished.status.code(), Some(78), "{finished:?}");
        assert_eq!(
            finished.stderr.matches(expected).count(),
            1,
            "{}",
            finished.stderr
        );
    }
}

#[test]
fn redis_that_is_away_is_waited_for() {
    let mut redis = RedisServer::start();
    let address = redis.address();
    let (_directory, path) = manifest(&format!(
        "{HEAD}{SPOUT}  bolts:\n  - name: out\n    inputs: [{{from: in}}]\n    redis: {{address: '{address}', add: {{set: numbers, member: number}}}}\n"
    ));
    redis.kill();
    let run = Run::start(["run", path.to_str().unwrap()]);
    wait_for("the run to say that it waits", Duration::from_secs(20), || {
        run.stderr().contains("waiting for redis").then_some(())
    });
    redis.restart();
    let finished = run.finish(Duration::from_secs(30));
    assert!(finished.status.success(), "{finished:?}");
    assert_eq!(redis.connect().scard::<_, u64>("numbers").unwrap(), 10);
}

#[test]
fn a_redis_key_of_another_type_ends_the_run_with_what_redis_says() {
    let redis = RedisServer::start();
    let address = redis.address();
    redis.connect().set::<_, _, ()>("numbers", "a text").unwrap();
    let (_directory, path) = manifest(&format!(
        "{HEAD}{SPOUT}  bolts:\n  - name: out\n    inputs: [{{from: in}}]\n    redis: {{address: '{address}', add: {{set: numbers, member: number}}}}\n"
    ));
    let finished = run(["run", path.to_str().unwrap()]);
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    assert!(
        finished.stderr.contains("component 'out'") && finished.stderr.to_uppercase().contains("WRONGTYPE"),
        "{}",
        finished.stderr
    );
}

#[test]
fn a_reader_that_goes_away_ends_the_run() {
    let (_directory, path) = manifest(&format!("{HEAD}{}{SINK}", SPOUT.replace("count: 10, ", "")));
    let command = format!(
        "'{}' run '{}' | head -n 1",
        waterspout_e2e::waterspout().display(),
        path.display()
    );
    let output = std::process::Command::new("sh")
        .args(["-c", &command])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n");
    assert!(String::from_utf8_lossy(&output.stderr).contains("write to standard output"));
}

#[test]
fn a_second_signal_does_no_harm() {
    let (_directory, path) = manifest(&format!(
        "{HEAD}{}{SINK}",
        SPOUT.replace("count: 10, ", "rate: 100, ")
    ));
    let run = Run::start(["run", path.to_str().unwrap(), "--workers", "2"]);
    wait_for("tuples", Duration::from_secs(20), || {
        (!run.stdout().is_empty()).then_some(())
    });
    run.signal(Signal::SIGTERM);
    run.signal(Signal::SIGTERM);
    assert!(run.finish(Duration::from_secs(20)).status.success());
}

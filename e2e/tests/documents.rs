//! Every manifest of built-in components in the examples and the documentation is validated and run, and what pages promise is tried.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use redis::Commands;
use waterspout_e2e::{RedisServer, Run, repository, wait_for};

/// A manifest that is shown to users.
struct Shown {
    /// The file, and which of its manifests.
    place: String,
    /// Where scripts that it names as files are.
    folder: PathBuf,
    text: String,
}

fn manifests() -> Vec<Shown> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = ["docs", "examples"]
        .iter()
        .map(|folder| repository().join(folder))
        .collect();
    let mut files = vec![repository().join("README.md")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => files.push(path),
            }
        }
    }
    for path in files {
        let ending = path
            .extension()
            .and_then(|ending| ending.to_str())
            .unwrap_or_default();
        let text = std::fs::read_to_string(&path).unwrap();
        let blocks: Vec<&str> = match ending {
            "yaml" => vec![&text],
            "md" => text
                .split("```yaml\n")
                .skip(1)
                .filter_map(|block| block.split("```").next())
                .collect(),
            _ => Vec::new(),
        };
        for (number, block) in blocks
            .into_iter()
            .enumerate()
            // Those with components of a program of their own are tried with that program, and so are those that need a package.
            .filter(|(_, block)| {
                let elsewhere = ["rust: {component", "protocol: Multilang"];
                block.contains("kind: Topology") && !elsewhere.iter().any(|key| block.contains(key))
            })
        {
            found.push(Shown {
                place: format!("{} ({number})", path.display()),
                folder: path.parent().unwrap().to_owned(),
                text: block.to_owned(),
            });
        }
    }
    found
}

fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn add_clicks(connection: &mut redis::Connection) {
    for user in ["ada", "bob", "ada"] {
        connection
            .xadd::<_, _, _, _, ()>("clicks", "*", &[("user", user), ("url", "/home")])
            .unwrap();
    }
}

/// Writes a manifest, a short text for it to read, and the scripts that lie beside the one that users see.
fn write_into(directory: &Path, manifest: &str, scripts: &Path) -> PathBuf {
    std::fs::create_dir(directory.join("text")).unwrap();
    std::fs::write(directory.join("text/a.md"), "one two\ntwo\n").unwrap();
    if scripts.is_dir() {
        let copies = directory.join("scripts");
        std::fs::create_dir(&copies).unwrap();
        for script in std::fs::read_dir(scripts).unwrap() {
            let script = script.unwrap();
            std::fs::copy(script.path(), copies.join(script.file_name())).unwrap();
        }
    }
    let path = directory.join("topology.yaml");
    std::fs::write(&path, manifest).unwrap();
    path
}

#[test]
fn every_manifest_is_valid_and_runs_in_one_process_and_in_two() {
    let manifests = manifests();
    assert!(
        manifests.len() >= 9,
        "only {} manifests were found",
        manifests.len()
    );
    let redis = RedisServer::start();
    for Shown { place, folder, text } in manifests {
        let manifest = text.replace("127.0.0.1:6379", &redis.address());
        for workers in ["1", "2"] {
            add_clicks(&mut redis.connect());
            let directory = tempfile::tempdir().unwrap();
            let path = write_into(directory.path(), &manifest, &folder.join("scripts"));
            let path = path.to_str().unwrap();
            let valid = Run::start(["validate", path]).finish(Duration::from_secs(20));
            assert!(valid.status.success(), "{place}: {valid:?}");
            let port = free_port();
            let http = format!("127.0.0.1:{port}");
            let mut run = Run::start(["run", path, "--workers", workers, "--http", &http]);
            // A bounded one ends by itself; the others are told to once they have worked.
            let ended = wait_for("work", Duration::from_secs(30), || {
                let worked = get(port, "/metrics").is_some_and(|metrics| {
                    metrics
                        .lines()
                        .any(|line| line.contains("acked_roots_total{") && !line.ends_with(" 0"))
                });
                if run.is_running() {
                    worked.then_some(false)
                } else {
                    Some(true)
                }
            });
            if !ended && run.is_running() {
                run.signal(Signal::SIGTERM);
            }
            let finished = run.finish(Duration::from_secs(30));
            assert!(
                finished.status.success(),
                "{place} with {workers} workers: {finished:?}"
            );
        }
    }
    let mut connection = redis.connect();
    assert_eq!(connection.scard::<_, u64>("users").unwrap(), 2);
    assert!(connection.hget::<_, _, u64>("clicks-by-url", "/home").unwrap() >= 6);
}

#[test]
fn the_endpoints_answer_as_the_page_says() {
    let (_directory, path) = waterspout_e2e::manifest(
        "
apiVersion: waterspout.dev/v1alpha1
kind: Topology
metadata: {name: endpoints}
spec:
  spouts:
  - name: numbers
    generator: {rate: 1000, shape: {sequence: {}}}
    streams: [{fields: [number]}]
  bolts:
  - name: out
    inputs: [{from: numbers}]
    stdout: {}
",
    );
    let port = free_port();
    let http = format!("127.0.0.1:{port}");
    let run = Run::start(["run", path.to_str().unwrap(), "--http", &http]);
    let metrics = wait_for("acks in the metrics", Duration::from_secs(20), || {
        let metrics = get(port, "/metrics")?;
        (metrics.contains("complete_latency_seconds_bucket")).then_some(metrics)
    });
    let page = std::fs::read_to_string(repository().join("docs/metrics.md")).unwrap();
    for name in page
        .split('`')
        .filter(|word| {
            word.starts_with("waterspout_") && word.chars().all(|c| c == '_' || c.is_ascii_lowercase())
        })
        .filter(|name| !name.starts_with("waterspout_user") && !name.starts_with("waterspout_operator"))
    {
        // Of other workers there are only the descriptions: there are none.
        let name = name.trim_end_matches("_total");
        assert!(metrics.contains(name), "'{name}' is not in:\n{metrics}");
    }
    assert!(metrics.contains("{topology=\"endpoints\",component=\"numbers\",task=\"0\"}"));
    assert!(get(port, "/healthz").unwrap().starts_with("HTTP/1.1 200"));
    assert!(get(port, "/readyz").unwrap().starts_with("HTTP/1.1 200"));
    // Tasks may be at work a little before the status says that they are.
    let body = wait_for("a status of what runs", Duration::from_secs(20), || {
        let status = get(port, "/status")?;
        let body: serde_json::Value = serde_json::from_str(status.split("\r\n\r\n").nth(1)?).ok()?;
        (body["phase"] == "Started").then_some(body)
    });
    assert_eq!(body["topology"], "endpoints");
    assert_eq!(body["epoch"], 1);
    assert_eq!(body["phase"], "Started");
    assert_eq!(body["tasks"].as_array().unwrap().len(), 2);
    run.signal(Signal::SIGTERM);
    assert!(run.finish(Duration::from_secs(20)).status.success());
}

#[test]
fn explain_shows_fields_and_refuses_others() {
    let shown = Run::start(["explain", "spouts.file"]).finish(Duration::from_secs(10));
    assert!(
        shown.status.success() && shown.stdout.contains("invalidUtf8"),
        "{shown:?}"
    );
    let refused = Run::start(["explain", "spouts.fil"]).finish(Duration::from_secs(10));
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stderr.contains("did you mean `file`?"), "{refused:?}");
}

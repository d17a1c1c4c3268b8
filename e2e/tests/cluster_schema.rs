//! What a real API server makes of manifests with the schema of `crds/`: what it takes, what it refuses, what it explains.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::path::PathBuf;

use waterspout_e2e::cluster::{Cluster, Turn};
use waterspout_e2e::repository;

fn with_definition() -> Turn {
    let cluster = Cluster::lock_bare();
    cluster.define_topologies();
    cluster
}

/// The manifests of a folder of the repository.
fn manifests(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(repository().join(folder)).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "yaml"));
    paths.sort();
    assert!(!paths.is_empty(), "there are manifests in {folder}");
    paths
}

/// What becomes of a manifest: nothing said if it is accepted.
fn apply(cluster: &Cluster, path: &std::path::Path) -> Result<(), String> {
    let apply = ["apply", "--dry-run=server", "--validate=strict", "-f"];
    let output = cluster.try_kubectl(apply.iter().map(|arg| arg.as_ref()).chain([path.as_os_str()]));
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn dump() {
    let cluster = with_definition();
    for path in manifests("api/tests/bad") {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        eprintln!("== {name}: {}", apply(&cluster, &path).err().unwrap_or("ACCEPTED".into()));
    }
    for path in manifests("api/tests/good") {
        eprintln!("== good {}: {:?}", path.display(), apply(&cluster, &path));
    }
}

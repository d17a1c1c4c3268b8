//! Helm and the chart.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

use crate::{repository, target};

/// The oldest version of Kubernetes that the chart is for. A Helm that was built from source knows no version of its own.
const KUBERNETES: &str = "1.30.0";

/// The chart's folder.
pub fn chart() -> PathBuf {
    repository().join("charts/waterspout")
}

/// Runs Helm in the repository's folder.
///
/// # Panics
/// If there is none.
pub fn helm<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
    let program = helm_program();
    let output = Command::new(&program)
        .args(args)
        .current_dir(repository())
        .output();
    output.unwrap_or_else(|error| {
        let program = program.display();
        panic!("'{program}' does not start: {error}; put Helm 3 into PATH")
    })
}

/// Helm: the one that was built for the tests' cluster, or that of PATH.
pub fn helm_program() -> PathBuf {
    let built = target().join("cluster/bin/helm");
    if built.exists() { built } else { "helm".into() }
}

/// What the chart makes with these arguments of `helm template`, object by object, or what Helm has against them.
///
/// # Errors
/// What Helm wrote to standard error when it failed.
///
/// # Panics
/// If an object is not YAML.
pub fn render(args: &[&str]) -> Result<Vec<Value>, String> {
    let chart = chart();
    let chart = chart.to_string_lossy();
    let template = [
        "template",
        "waterspout",
        &chart,
        "--namespace",
        "waterspout-system",
    ];
    let output = helm([&template[..], &["--kube-version", KUBERNETES], args].concat());
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let objects = text.split("\n---\n").map(|object| {
        serde_yaml::from_str(object).unwrap_or_else(|error| panic!("read an object: {error}\n{object}"))
    });
    Ok(objects.filter(|object: &Value| !object.is_null()).collect())
}

//! Which crate may use which: the arrows of ARCHITECTURE.md.
//!
//! Dependencies of tests are free; those of programs and build scripts are not.

use std::fs;

use anyhow::Context;
use serde_json::Value;

use super::Finding;
use crate::run::Workspace;

/// The crates of the workspace, and which of them each may use.
const ARROWS: [(&str, &[&str]); 11] = [
    ("waterspout-core", &[]),
    ("waterspout-api", &["waterspout-core"]),
    ("waterspout-derive", &[]),
    ("waterspout-worker", &["waterspout-core", "waterspout-derive"]),
    ("waterspout-operator", &["waterspout-api", "waterspout-core"]),
    (
        "waterspout-cli",
        &["waterspout-api", "waterspout-worker", "waterspout-core"],
    ),
    (
        "waterspout-bench",
        &["waterspout-cli", "waterspout-worker", "waterspout-core"],
    ),
    (
        "waterspout-e2e",
        &["waterspout-api", "waterspout-cli", "waterspout-core"],
    ),
    ("waterspout-fuzz", &[]),
    ("xtask", &[]),
    ("rust-worker", &["waterspout-cli"]),
];

/// The worker's Kubernetes stays in its discovery, which `sources.rs` checks.
const KUBERNETES: &[&str] = &[
    "waterspout-api",
    "waterspout-operator",
    "waterspout-cli",
    "waterspout-worker",
];
const GRPC: &[&str] = &["waterspout-worker"];

/// Libraries that only some crates may use.
const ONLY_IN: [(&str, &[&str]); 8] = [
    ("kube", KUBERNETES),
    ("kube-client", KUBERNETES),
    ("kube-core", KUBERNETES),
    ("kube-runtime", KUBERNETES),
    ("k8s-openapi", KUBERNETES),
    ("tonic", GRPC),
    ("tonic-prost", GRPC),
    ("prost", GRPC),
];

/// Libraries that core may not use: it has no runtime and no chance in it.
const NOT_IN_CORE: [&str; 2] = ["tokio", "rand"];

/// Checks the manifests of the workspace.
pub(super) fn check(workspace: &Workspace) -> anyhow::Result<Vec<Finding>> {
    let command = ["metadata", "--format-version=1", "--no-deps", "--locked"];
    let json = workspace.cargo(&command).output()?;
    let metadata: Value = serde_json::from_str(&json).context("read what `cargo metadata` wrote")?;
    let packages = metadata["packages"]
        .as_array()
        .context("find the packages in what `cargo metadata` wrote")?;
    let mut findings = Vec::new();
    for package in packages {
        let path = text(package, "manifest_path");
        let manifest = fs::read_to_string(path).with_context(|| format!("read '{path}'"))?;
        let root = workspace.root.to_string_lossy();
        let path = path
            .strip_prefix(&*root)
            .map_or(path, |path| path.trim_start_matches('/'));
        findings.extend(check_package(package, path, &manifest));
    }
    Ok(findings)
}

fn check_package(package: &Value, path: &str, manifest: &str) -> Vec<Finding> {
    let name = text(package, "name");
    let Some((_, may_use)) = ARROWS.iter().find(|(known, _)| *known == name) else {
        let what = format!("crate '{name}' has no arrows; name what it may use in xtask/src/tidy/arrows.rs");
        return vec![Finding::new(path, 1, what)];
    };
    let dependencies = package["dependencies"].as_array().into_iter().flatten();
    let dependencies = dependencies.filter(|dependency| dependency["kind"] != "dev");
    dependencies
        .map(|dependency| text(dependency, "name"))
        .filter_map(|used| {
            let is_ours = ARROWS.iter().any(|(known, _)| *known == used);
            let only_in = ONLY_IN.iter().find(|(library, _)| *library == used);
            let may = if is_ours {
                may_use.contains(&used)
            } else {
                only_in.is_none_or(|(_, crates)| crates.contains(&name))
                    && (name != "waterspout-core" || !NOT_IN_CORE.contains(&used))
            };
            let what = format!(
                "'{name}' must not use '{used}'; move what needs it along the arrows of ARCHITECTURE.md"
            );
            (!may).then(|| Finding::new(path, line_of(manifest, used), what))
        })
        .collect()
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

/// The line of a manifest that declares a dependency.
fn line_of(manifest: &str, dependency: &str) -> usize {
    let declares = |line: &str| {
        let rest = line.strip_prefix(dependency);
        rest.is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
    };
    manifest.lines().position(declares).map_or(1, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_arrow_against_the_architecture_is_found() {
        let cases = [
            ("waterspout-cli", "waterspout-worker", None, false),
            ("waterspout-bench", "waterspout-core", None, false),
            ("waterspout-core", "serde", None, false),
            ("waterspout-core", "tokio", Some("dev"), false),
            ("waterspout-e2e", "waterspout-core", Some("dev"), false),
            ("waterspout-api", "kube", None, false),
            ("waterspout-worker", "waterspout-derive", None, false),
            ("waterspout-derive", "waterspout-core", None, true),
            ("waterspout-worker", "waterspout-api", None, true),
            ("waterspout-operator", "waterspout-worker", None, true),
            ("waterspout-worker", "waterspout-operator", Some("build"), true),
            ("waterspout-e2e", "waterspout-core", None, false),
            ("waterspout-e2e", "waterspout-worker", None, true),
            ("xtask", "waterspout-core", None, true),
            ("waterspout-core", "tokio", None, true),
            ("waterspout-core", "rand", None, true),
            ("waterspout-worker", "kube", None, false),
            ("waterspout-bench", "kube", None, true),
            ("waterspout-cli", "tonic", None, true),
            ("waterspout-new", "serde", None, true),
        ];
        for (name, used, kind, expected) in cases {
            let package = json!({"name": name, "dependencies": [{"name": used, "kind": kind}]});
            let found = check_package(&package, "a/Cargo.toml", "");
            assert_eq!(!found.is_empty(), expected, "{name} -> {used} ({kind:?})");
        }
    }

    #[test]
    fn a_finding_names_the_line_of_the_dependency() {
        let package = json!({"name": "waterspout-cli", "dependencies": [{"name": "tonic", "kind": null}]});
        let manifest = "[dependencies]\ntonic-health = \"1\"\ntonic.workspace = true\n";
        let found = check_package(&package, "cli/Cargo.toml", manifest);
        assert_eq!(
            found[0].to_string(),
            "cli/Cargo.toml:3: 'waterspout-cli' must not use 'tonic'; \
             move what needs it along the arrows of ARCHITECTURE.md"
        );
    }
}

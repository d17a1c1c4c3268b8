//! Which crate may depend on which.

use anyhow::Context;
use serde_json::Value;

use crate::run::cargo;

/// For each crate, the crates of the project that it may depend on, tests included.
const ARROWS: [(&str, &[&str]); 8] = [
    ("waterspout-core", &[]),
    ("waterspout-api", &["waterspout-core"]),
    ("waterspout-worker", &["waterspout-core", "waterspout-e2e"]),
    ("waterspout-operator", &["waterspout-core", "waterspout-api"]),
    (
        "waterspout-cli",
        &["waterspout-core", "waterspout-api", "waterspout-worker"],
    ),
    ("waterspout-bench", &["waterspout-core", "waterspout-worker"]),
    ("waterspout-e2e", &[]),
    ("xtask", &[]),
];

/// Libraries that only these crates may use.
const ONLY_IN: [(&str, &[&str]); 6] = [
    (
        "kube",
        &["waterspout-api", "waterspout-operator", "waterspout-cli"],
    ),
    (
        "k8s-openapi",
        &["waterspout-api", "waterspout-operator", "waterspout-cli"],
    ),
    ("tonic", &["waterspout-worker"]),
    ("prost", &["waterspout-worker"]),
    (
        "tokio",
        &["waterspout-worker", "waterspout-operator", "waterspout-cli"],
    ),
    ("rand", &["waterspout-worker"]),
];

/// Checks the dependencies that the manifests declare.
pub(super) fn check() -> anyhow::Result<Vec<String>> {
    let json = cargo(
        "cargo metadata",
        &["metadata", "--format-version=1", "--no-deps", "--locked"],
    )
    .output()?;
    let metadata: Value = serde_json::from_str(&json).context("read what cargo says of the crates")?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo says what crates there are")?;
    Ok(packages.iter().flat_map(check_package).collect())
}

fn check_package(package: &Value) -> Vec<String> {
    let name = package["name"].as_str().unwrap_or_default();
    let manifest = package["manifest_path"].as_str().unwrap_or_default();
    let Some((_, allowed)) = ARROWS.iter().find(|(known, _)| *known == name) else {
        return vec![format!(
            "{manifest}:1: crate '{name}' has no arrows; name them in xtask/src/tidy/arrows.rs"
        )];
    };
    let dependencies = package["dependencies"].as_array().into_iter().flatten();
    let names = dependencies.filter_map(|dependency| dependency["name"].as_str());
    names
        .filter_map(|dependency| {
            let is_ours = ARROWS.iter().any(|(known, _)| *known == dependency);
            let only_in = ONLY_IN.iter().find(|(library, _)| *library == dependency);
            if is_ours && !allowed.contains(&dependency) {
                Some(format!(
                    "{manifest}:1: '{name}' must not depend on '{dependency}'; see ARCHITECTURE.md"
                ))
            } else if only_in.is_some_and(|(_, crates)| !crates.contains(&name)) {
                Some(format!(
                    "{manifest}:1: '{name}' must not use '{dependency}'; see ARCHITECTURE.md"
                ))
            } else {
                None
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn findings(name: &str, dependency: &str) -> usize {
        let package =
            json!({"name": name, "manifest_path": "Cargo.toml", "dependencies": [{"name": dependency}]});
        check_package(&package).len()
    }

    #[test]
    fn an_arrow_against_the_architecture_is_found() {
        assert_eq!(findings("waterspout-cli", "waterspout-worker"), 0);
        assert_eq!(findings("waterspout-worker", "waterspout-api"), 1);
        assert_eq!(findings("waterspout-core", "tokio"), 1);
        assert_eq!(findings("waterspout-new", "serde"), 1);
    }
}

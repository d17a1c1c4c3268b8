//! The files that a program writes: what they are, and whether they are fresh.

use std::path::Path;

use anyhow::Context;

use crate::run::{cargo, repository};

/// A file, and what its content is made of.
struct Generated {
    path: &'static str,
    /// The operator's subcommand that prints it.
    printed_by: &'static str,
    change: fn(&str) -> String,
}

const FILES: [Generated; 3] = [
    Generated {
        path: "crds/topologies.yaml",
        printed_by: "crd",
        change: str::to_owned,
    },
    Generated {
        path: "charts/waterspout/templates/crd.yaml",
        printed_by: "crd",
        change: kept_by_helm,
    },
    Generated {
        path: "docs/reference/topology.md",
        printed_by: "reference",
        change: str::to_owned,
    },
];

/// The definition as part of a chart: an uninstall leaves it, and with it the users' topologies.
fn kept_by_helm(definition: &str) -> String {
    definition.replacen(
        "metadata:\n",
        "metadata:\n  annotations:\n    helm.sh/resource-policy: keep\n",
        1,
    )
}

/// Writes all of them.
pub(crate) fn generate() -> anyhow::Result<()> {
    for file in &FILES {
        let path = repository().join(file.path);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).context("make the folder")?;
        std::fs::write(&path, file.content()?).with_context(|| format!("write '{}'", file.path))?;
    }
    Ok(())
}

/// Those that are not what they would be now.
pub(crate) fn stale() -> anyhow::Result<Vec<String>> {
    let mut stale = Vec::new();
    for file in &FILES {
        let there = std::fs::read_to_string(repository().join(file.path)).unwrap_or_default();
        if there != file.content()? {
            stale.push(format!("{}:1: stale; run `cargo xtask generate`", file.path));
        }
    }
    Ok(stale)
}

impl Generated {
    fn content(&self) -> anyhow::Result<String> {
        let args = [
            "run",
            "--release",
            "--locked",
            "--quiet",
            "-p",
            "waterspout-operator",
            "--",
            self.printed_by,
        ];
        Ok((self.change)(&cargo(self.printed_by, &args).output()?))
    }
}

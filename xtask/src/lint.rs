//! `cargo xtask lint`: clippy over Rust, ruff and mypy over Python.

use crate::python;
use crate::run::{Workspace, say};

const CLIPPY: [&str; 8] = [
    "clippy",
    "--workspace",
    "--all-targets",
    "--release",
    "--locked",
    "--",
    "-D",
    "warnings",
];

/// The folders that have Python in them.
const PYTHON: [&str; 3] = ["umbrella", "script/python", "examples"];

/// The settings of ruff and mypy.
const SETTINGS: &str = "umbrella/pyproject.toml";

/// Runs all lints.
pub(crate) fn lint(workspace: &Workspace) -> anyhow::Result<()> {
    say("clippy");
    workspace.cargo(&CLIPPY).calm().pass_through()?;
    python::provide(workspace, false)?;
    say(&format!("ruff and mypy over {}", PYTHON.join(", ")));
    let ruff = python::program(workspace, "ruff");
    let ruff = ruff.to_string_lossy();
    let cache = workspace.target_folder().join("ruff");
    let cache = cache.to_string_lossy();
    for command in [&["check"][..], &["format", "--check"]] {
        let flags = ["--quiet", "--cache-dir", &cache, "--config", SETTINGS];
        let args = [command, &flags, &PYTHON].concat();
        workspace.program(&ruff, &args).quietly()?;
    }
    let mypy = python::program(workspace, "mypy");
    let cache = workspace.target_folder().join("mypy");
    let cache = cache.to_string_lossy();
    let flags = ["--config-file", SETTINGS, "--cache-dir", &cache];
    let args = [&flags[..], &PYTHON].concat();
    workspace.program(&mypy.to_string_lossy(), &args).quietly()
}

//! `cargo xtask bench`: builds the benchmark program and runs it. What it measures, and its flags, are its own.

use crate::run::Workspace;

const BENCH: [&str; 7] = [
    "run",
    "--release",
    "--locked",
    "-q",
    "-p",
    "waterspout-bench",
    "--",
];

/// Runs the benchmark program with `args`.
pub(crate) fn bench(workspace: &Workspace, args: &[String]) -> anyhow::Result<()> {
    workspace.cargo(&BENCH).args(args).pass_through()
}

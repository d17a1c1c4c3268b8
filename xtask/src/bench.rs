//! `cargo xtask bench`: builds the benchmark program and runs it. What it measures, and its flags, are its own.

use crate::python;
use crate::run::Workspace;

/// Without `-p`, so that libraries have the features that the whole workspace needs, and are built once only.
const BENCH: [&str; 6] = ["run", "--release", "--locked", "-q", "--bin", "waterspout-bench"];

/// Runs the benchmark program with `args`.
pub(crate) fn bench(workspace: &Workspace, args: &[String]) -> anyhow::Result<()> {
    // Some workloads have a bolt in Python.
    python::provide(workspace, false)?;
    workspace
        .cargo(&[&BENCH[..], &["--"]].concat())
        .args(args)
        .pass_through()
}

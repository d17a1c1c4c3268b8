//! `cargo xtask bench`: builds a benchmark program and runs it. What the benchmarks of the data plane measure, and their flags, are
//! their own; that of the operator takes a cluster, and so is a program of its own.

use clap::{Parser, ValueEnum};

use crate::run::Workspace;
use crate::{python, test};

/// Without `-p`, so that libraries have the features that the whole workspace needs, and are built once only.
const BENCH: [&str; 6] = ["run", "--release", "--locked", "-q", "--bin", "waterspout-bench"];

/// The name of the benchmark of the operator among the others.
const OPERATOR: &str = "operator";

/// Measures one operator with many topologies, on a cluster as the tests have one, whose pods are held back.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench operator", bin_name = "cargo xtask bench operator")]
pub(crate) struct OperatorArgs {
    /// How many topologies
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) topologies: u32,
    /// How the figures are written
    #[arg(long, default_value = "text")]
    pub(crate) output: Output,
}

/// How figures are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// A table.
    Text,
    /// A JSON object a line.
    Json,
}

/// Runs a benchmark program with `args`.
pub(crate) fn bench(workspace: &Workspace, args: &[String]) -> anyhow::Result<()> {
    if args.first().is_some_and(|first| first == OPERATOR) {
        return test::bench_operator(workspace, &OperatorArgs::parse_from(args));
    }
    // Some workloads have a bolt in Python.
    python::provide(workspace, false)?;
    workspace
        .cargo(&[&BENCH[..], &["--"]].concat())
        .args(args)
        .pass_through()
}

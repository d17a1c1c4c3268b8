//! `cargo xtask test`: the programs, a cluster where one is needed, then the tests that run them.
//!
//! Invariants: no test is left out because something is missing: what cannot be had is said first, and the tests that need
//! it fail. A cluster that was up before is up afterwards, and one that was not is not. A right that all the tests do not use
//! is a failure like another one.

use std::path::PathBuf;

use anyhow::{Context, anyhow};

use crate::bench::{OperatorArgs, Output};
use crate::run::{Workspace, say};
use crate::{cluster, image, setup};

/// The programs first: the end-to-end tests start them, and cargo does not build one crate's programs for another's tests.
const PROGRAMS: [&str; 5] = ["build", "--release", "--locked", "--workspace", "--bins"];

/// A failure in one crate does not hide those in the next ones.
const TESTS: [&str; 5] = ["test", "--release", "--locked", "--workspace", "--no-fail-fast"];

/// The tests of a cluster: all that are in files called so.
const CLUSTER_TESTS: [&str; 9] = [
    "test",
    "--release",
    "--locked",
    "--quiet",
    "--workspace",
    "--test",
    "cluster*",
    "--",
    "--list",
];

/// Of the tests' own cluster.
const NODES: u8 = 2;

/// Runs all tests, or those whose name has one of the words.
pub(crate) fn test(workspace: &Workspace, filters: &[String]) -> anyhow::Result<()> {
    setup::setup(workspace, false)?;
    say("building the programs");
    workspace.cargo(&PROGRAMS).calm().pass_through()?;
    let listed = workspace.cargo(&CLUSTER_TESTS).args(filters).output()?;
    let needs_cluster = needs_cluster(&listed);
    let (cluster, missing) = match provide(workspace, needs_cluster) {
        Ok(cluster) => (cluster, None),
        Err(error) => {
            say(&format!(
                "no cluster for the tests that need one, which will fail: {error:#}"
            ));
            (None, Some(error))
        }
    };
    // Tests that are left out use no rights, and other clusters keep their log to themselves.
    let sees_all = filters.is_empty() && needs_cluster && missing.is_none() && is_ours(workspace);
    let noted = cluster::noted(workspace);
    say("running the tests");
    let outcome = workspace
        .cargo(&TESTS)
        .args(&after_dashes(filters))
        .pass_through();
    // The log of a run that failed is not whole.
    let outcome = match outcome {
        Ok(()) if sees_all => cluster::check_rights(workspace, noted),
        outcome => outcome,
    };
    drop(cluster);
    match (outcome, missing) {
        (Err(outcome), Some(missing)) => Err(anyhow!("{outcome:#}\nthere was no cluster: {missing:#}")),
        (outcome, _) => outcome,
    }
}

/// Does faults by a seed for some minutes, on a cluster as the tests have one.
pub(crate) fn chaos(workspace: &Workspace, minutes: u32, seed: u64, rate: u32) -> anyhow::Result<()> {
    setup::setup(workspace, false)?;
    say("building the programs");
    workspace.cargo(&PROGRAMS).calm().pass_through()?;
    let _cluster = provide(workspace, true)?;
    say(&format!("faults for {minutes} minutes, by seed {seed}"));
    let program = workspace.target_folder().join("release/chaos");
    workspace
        .program(&program.display().to_string(), &[])
        .env("WATERSPOUT_CHAOS_MINUTES", &minutes.to_string())
        .env("WATERSPOUT_CHAOS_SEED", &seed.to_string())
        .env("WATERSPOUT_CHAOS_RATE", &rate.to_string())
        .pass_through()
}

/// Measures one operator with many topologies, on a cluster as the tests have one.
pub(crate) fn bench_operator(workspace: &Workspace, args: &OperatorArgs) -> anyhow::Result<()> {
    setup::setup(workspace, false)?;
    say("building the programs");
    workspace.cargo(&PROGRAMS).calm().pass_through()?;
    let was_up = cluster::is_up(workspace);
    cluster::up(workspace, NODES)?;
    let _cluster = (!was_up).then(|| Temporary(workspace));
    let program = workspace.target_folder().join("release/thousand");
    let output = match args.output {
        Output::Text => "text",
        Output::Json => "json",
    };
    workspace
        .program(&program.display().to_string(), &[])
        .env("WATERSPOUT_TOPOLOGIES", &args.topologies.to_string())
        .env("WATERSPOUT_OUTPUT", output)
        .pass_through()
}

/// A cluster that ends with the value.
struct Temporary<'w>(&'w Workspace);

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if let Err(error) = cluster::down(self.0) {
            say(&format!("run `cargo xtask cluster down`: {error:#}"));
        }
    }
}

/// Whether the tests use the cluster of this target folder.
fn is_ours(workspace: &Workspace) -> bool {
    let named = workspace.kubeconfig.as_ref();
    named.is_none_or(|named| *named == cluster::kubeconfig(workspace))
}

/// Sees to it that the tests have a cluster with the images of this checkout, if they need one.
fn provide(workspace: &Workspace, is_needed: bool) -> anyhow::Result<Option<Temporary<'_>>> {
    if !is_needed {
        return Ok(None);
    }
    if let Some(named) = workspace.kubeconfig.as_ref().filter(|_| !is_ours(workspace)) {
        say(&format!(
            "the tests use the cluster of KUBECONFIG={}, which must be able to pull or have the images",
            named.display()
        ));
        return Ok(None);
    }
    let was_up = cluster::is_up(workspace);
    cluster::up(workspace, NODES)?;
    let temporary = (!was_up).then(|| Temporary(workspace));
    let images = images(workspace)?;
    cluster::load_images(workspace, &images)?;
    Ok(temporary)
}

/// The archives of the images, on bases that need no registry.
fn images(workspace: &Workspace) -> anyhow::Result<Vec<PathBuf>> {
    let bases = cluster::base_images(workspace).context("make the bases of the images")?;
    let [base, script_base] = bases.map(|base| format!("docker-archive:{}", base.display()));
    image::build_all(workspace, &base, &script_base)
}

/// Whether a test is in what the test programs list.
fn needs_cluster(listed: &str) -> bool {
    listed.lines().any(|line| line.ends_with(": test"))
}

/// Filters as the test runner takes several of them.
fn after_dashes(filters: &[String]) -> Vec<String> {
    let dashes = (!filters.is_empty()).then(|| "--".to_owned());
    dashes.into_iter().chain(filters.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_filters_go_to_the_test_runner_and_none_leave_it_alone() {
        assert!(after_dashes(&[]).is_empty());
        let filters = ["ledger".to_owned(), "link".to_owned()];
        assert_eq!(after_dashes(&filters), ["--", "ledger", "link"]);
    }

    #[test]
    fn a_cluster_is_needed_only_if_a_test_of_one_is_among_those_that_run() {
        assert!(needs_cluster("up_twice: test\n\n1 test, 0 benchmarks\n"));
        assert!(!needs_cluster(
            "\n0 tests, 0 benchmarks\n\n0 tests, 0 benchmarks\n"
        ));
    }
}

//! `cargo xtask simulate`: many seeds of the worker's simulation, or one again.
//!
//! The simulation is part of the worker's own tests, so that the product has nothing of it; this finds their program and
//! tells it what to run.

use anyhow::{Context, bail};
use clap::Args;
use serde_json::Value;

use crate::run::{Workspace, say};

/// Which seeds.
#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    /// How many seeds
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// One seed, with everything that happens in it
    #[arg(long, conflicts_with_all = ["seeds", "first"])]
    seed: Option<u64>,
}

/// Without `-p`, so that libraries have the features that the whole workspace needs, and are built once only.
const BUILD: [&str; 7] = [
    "test",
    "--release",
    "--locked",
    "--workspace",
    "--lib",
    "--no-run",
    "--message-format=json",
];

const TEST: [&str; 3] = [
    "simulation::tests::every_root_arrives_and_is_acked_once_and_everything_ends_whatever_goes_wrong",
    "--exact",
    "--nocapture",
];

/// Runs seeds.
pub(crate) fn simulate(workspace: &Workspace, args: &SimulateArgs) -> anyhow::Result<()> {
    say("building the worker's tests");
    let built = workspace.cargo(&BUILD).calm().output()?;
    let program = program(&built)?;
    let step = workspace.program(&program, &TEST);
    let step = match args.seed {
        Some(seed) => step.env("WATERSPOUT_SIMULATE_SEED", &seed.to_string()),
        None => step
            .env("WATERSPOUT_SIMULATE_SEEDS", &args.seeds.to_string())
            .env("WATERSPOUT_SIMULATE_FIRST", &args.first.to_string()),
    };
    match (step.pass_through(), args.seed) {
        (Err(_), Some(seed)) => bail!("seed {seed} is wrong; what happened is above"),
        (Err(_), None) => {
            bail!("some seeds are wrong; `cargo xtask simulate --seed N` shows what happens in one")
        }
        (Ok(()), _) => Ok(()),
    }
}

/// The program with the tests of the worker's library, among what cargo says that it built.
fn program(built: &str) -> anyhow::Result<String> {
    let artifacts = built
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    artifacts
        .filter(|artifact| artifact["target"]["name"] == "waterspout_worker")
        .find_map(|artifact| Some(artifact["executable"].as_str()?.to_owned()))
        .context("find the worker's tests among what cargo built")
}

#[cfg(test)]
mod tests {
    use super::program;

    #[test]
    fn the_program_is_the_one_of_the_worker() {
        let built = r#"
            {"target": {"name": "waterspout_core"}, "executable": "/core"}
            {"target": {"name": "waterspout_worker"}, "executable": null}
            {"target": {"name": "waterspout_worker"}, "executable": "/worker"}"#;
        assert_eq!(program(built).expect("it is there"), "/worker");
        assert!(program("").is_err());
    }
}

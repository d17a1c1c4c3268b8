//! The project's own commands: `cargo xtask COMMAND`.
//!
//! Owns: the command line, and reading the environment. Leaves to others: what the commands do, one file each.

mod bench;
mod ci;
mod cluster;
mod fuzz;
mod generate;
mod image;
mod lint;
mod python;
mod run;
mod setup;
mod simulate;
mod test;
mod tidy;
mod values;
mod wheel;

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::run::{Workspace, say};

/// The project's own commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = EXAMPLES)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask ci                 pass everything that a change must pass
  cargo xtask test               run all tests
  cargo xtask test ledger link   run the tests whose name has one of these words
  cargo xtask generate           renew the files that are made from the code

Durations in the help texts are for two cores.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Pass everything that a change must pass: setup, format, lints, tidy, all tests, documentation
    ///
    /// Ends at the first step that fails, with exit code 1, and says how to run that step alone. About 15 minutes from
    /// nothing, and a few when only little has changed; the lints and the tests are nearly all of it.
    Ci,
    /// Build the programs and run all tests, or those whose name has one of the words
    ///
    /// The end-to-end tests start the built programs, so these are built first. Tests of a cluster have the one that KUBECONFIG
    /// names, or one that is started for them (`cargo xtask cluster`), which is ended afterwards unless it was up before. About
    /// 20 minutes from nothing.
    #[command(after_help = "\
Examples:
  cargo xtask test
  cargo xtask test word_count
  UPDATE_GOLDEN=1 cargo xtask test manifests     write golden files anew; then read the difference")]
    Test {
        /// Words that names of tests have
        #[arg(value_name = "FILTER")]
        filters: Vec<String>,
    },
    /// Simulate several workers on a network that fails, by seed
    ///
    /// Runs the worker's own code in virtual time and looks whether any tuple is lost, acked in vain or left behind. The tests
    /// run 300 seeds. Prints what was met in which phase; a seed that is wrong is named, and replayed by `--seed`. About 10,000
    /// seeds in five minutes.
    #[command(after_help = "\
Examples:
  cargo xtask simulate                      run 10,000 seeds
  cargo xtask simulate --seeds 1000 --first 50000
  cargo xtask simulate --seed 4711          run one, and print everything that happens in it")]
    Simulate(simulate::SimulateArgs),
    /// Do faults to a topology on a real cluster, in the order of a seed, and count what is lost, comes twice, and how long
    /// nothing comes
    ///
    /// Workers, their parents and pods are killed and stopped, a node is drained and cut off, operator, API server and etcd go
    /// away, and the topology is scaled, released, released wrongly and rolled back. Ends with exit code 1 if an id is lost or
    /// the topology does not run again. Writes `target/chaos/table.md` and `timeline.svg`.
    #[command(after_help = "\
Examples:
  cargo xtask chaos                           30 minutes, by seed 1
  cargo xtask chaos --minutes 5 --seed 42")]
    Chaos {
        /// For how long, in minutes; the round that runs then is ended
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=1440))]
        minutes: u32,
        /// What gives the order of the faults
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Ids per second
        #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(100..=100_000))]
        rate: u32,
    },
    /// Give the readers of frames, rows, plans, manifests and scripts' messages bytes that were changed at random
    ///
    /// Begins with the files of `fuzz/corpus/TARGET`, keeps what makes a reader behave as never before, and changes that
    /// further. The tests do the same with a few thousand inputs. An input that fails is shortened, named, and kept in
    /// `target/fuzz`. Targets: control, entries, framing, frame, manifest, multilang, multilang-messagepack, plan, row, script.
    #[command(after_help = "\
Examples:
  cargo xtask fuzz                          a minute for each target
  cargo xtask fuzz frame --seconds 3600     an hour for one")]
    Fuzz(fuzz::FuzzArgs),
    /// Install what the tests need besides Rust, or say how
    ///
    /// Installs with apt-get on Debian and Ubuntu as root, and says which command to run elsewhere. Python packages go into
    /// `target/python`, with the versions and hashes of `xtask/requirements.txt`. At once if all is there, else about a minute.
    Setup {
        /// Install nothing; fail if something is missing
        #[arg(long)]
        check: bool,
    },
    /// Lint: clippy over Rust, ruff and mypy over Python
    ///
    /// About 4 minutes from nothing, seconds if little has changed. Python is formatted by `target/python/bin/ruff format umbrella
    /// script/python examples`.
    Lint,
    /// Check the rules that a machine can check: arrows, headers, lengths, links, generated files
    ///
    /// Seconds, once the operator, which prints the generated files, is built.
    Tidy,
    /// Write the generated files anew
    ///
    /// Seconds, once the operator, which prints them, is built.
    Generate,
    /// Build the container images, as archives that a node can load
    ///
    /// Wants buildah, and root or user namespaces. Writes `operator.tar`, `worker.tar` and `script-worker.tar`, and fails if
    /// one is larger than it may be. Seconds, once the programs are built.
    Image(image::ImageArgs),
    /// Build a Python wheel of the package `umbrella`, with the program inside
    ///
    /// Writes it to `target/dist`, for this platform and every Python from 3.10 on. Half a minute, once the program is built.
    #[command(after_help = "\
Example:
  cargo xtask wheel && pip install target/dist/waterspout_umbrella-*.whl")]
    Wheel,
    /// A Kubernetes on this machine for the tests of a cluster
    ///
    /// A control plane and nodes, made of processes, with real kubelets and containers, and without a registry of images.
    #[command(
        subcommand,
        after_help = "\
Examples:
  cargo xtask cluster up
  export KUBECONFIG=$(cargo xtask cluster kubeconfig)
  cargo xtask image --base docker-archive:$(cargo xtask cluster base-image) \\
    --script-base docker-archive:$(cargo xtask cluster base-image --scripts)
  cargo xtask cluster load-image target/images/*.tar
  cargo xtask cluster down"
    )]
    Cluster(cluster::ClusterCommand),
    /// Measure; see `cargo xtask bench --help`
    ///
    /// All arguments go to the benchmark program, which is built first.
    #[command(disable_help_flag = true)]
    Bench {
        /// Passed on to the benchmark program
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    let workspace = workspace();
    let outcome = match args.command {
        Command::Ci => ci::ci(&workspace),
        Command::Test { filters } => test::test(&workspace, &filters),
        Command::Simulate(args) => simulate::simulate(&workspace, &args),
        Command::Chaos { minutes, seed, rate } => test::chaos(&workspace, minutes, seed, rate),
        Command::Fuzz(args) => fuzz::fuzz(&workspace, &args),
        Command::Setup { check } => setup::setup(&workspace, check),
        Command::Lint => lint::lint(&workspace),
        Command::Tidy => tidy::tidy(&workspace),
        Command::Generate => generate::generate(&workspace),
        Command::Image(args) => image::image(&workspace, &args),
        Command::Wheel => wheel::wheel(&workspace),
        Command::Cluster(command) => cluster::cluster(&workspace, &command),
        Command::Bench { args } => bench::bench(&workspace, &args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Where the repository is and which cargo builds it, as the cargo that started this says.
fn workspace() -> Workspace {
    // As of now and not of when this was compiled: several checkouts may share one target folder.
    let manifest =
        std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let manifest = Path::new(&manifest);
    let target = std::env::var_os("CARGO_TARGET_DIR").filter(|target| !target.is_empty());
    let kubeconfig = std::env::var_os("KUBECONFIG").filter(|named| !named.is_empty());
    Workspace {
        root: manifest.parent().unwrap_or(manifest).to_owned(),
        cargo: std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()),
        // Programs are started in the repository's folder, so a path from here would lead elsewhere.
        target: target.and_then(|target| std::path::absolute(target).ok()),
        kubeconfig: kubeconfig.map(Into::into),
    }
}

//! `cargo xtask fuzz`: the readers of bytes from outside, with inputs that were changed at random, for as long as one likes.
//!
//! The targets are tests named `fuzz_TARGET`, beside what they read; this finds their programs and runs them for long.

use anyhow::bail;
use clap::Args;
use serde_json::Value;

use crate::run::{Workspace, say};

/// What, and for how long.
#[derive(Debug, Args)]
pub(crate) struct FuzzArgs {
    /// The target; all of them, one after the other, if there is none
    target: Option<String>,
    /// How many seconds each target runs
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// Without `-p`, so that libraries have the features that the whole workspace needs, and are built once only.
const BUILD: [&str; 9] = [
    "test",
    "--release",
    "--locked",
    "--workspace",
    "--lib",
    "--test",
    "fuzz",
    "--no-run",
    "--message-format=json",
];
const PREFIX: &str = "fuzz_";

/// A target, and how to run it.
struct Target {
    /// What it is called on the command line.
    name: String,
    program: String,
    /// The test.
    test: String,
}

/// Runs targets.
pub(crate) fn fuzz(workspace: &Workspace, args: &FuzzArgs) -> anyhow::Result<()> {
    say("building the tests");
    let built = workspace.cargo(&BUILD).calm().output()?;
    let mut targets = Vec::new();
    for program in programs(&built) {
        let listed = workspace.program(&program, &["--list", PREFIX]).output()?;
        targets.extend(listed.lines().filter_map(|line| target(&program, line)));
    }
    targets.sort_by(|one, other| one.name.cmp(&other.name));
    let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
    if let Some(name) = &args.target
        && !names.contains(&name.as_str())
    {
        bail!(
            "there is no target '{name}'; the targets are {}",
            names.join(", ")
        );
    }
    let mut failed = Vec::new();
    for target in &targets {
        if args.target.as_ref().is_some_and(|name| *name != target.name) {
            continue;
        }
        say(&format!("{} for {} s", target.name, args.seconds));
        let run = workspace.program(
            &target.program,
            &[&target.test, "--exact", "--nocapture", "--quiet"],
        );
        let run = run.env("WATERSPOUT_FUZZ_SECONDS", &args.seconds.to_string());
        if run.pass_through().is_err() {
            failed.push(target.name.as_str());
        }
    }
    if !failed.is_empty() {
        bail!("{} failed; above is which input it was", failed.join(", "));
    }
    Ok(())
}

/// The programs that may have targets, among what cargo says that it built.
fn programs(built: &str) -> Vec<String> {
    let artifacts = built
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    artifacts
        .filter(|artifact| {
            artifact["target"]["name"] == "fuzz" || artifact["target"]["name"] == "waterspout_worker"
        })
        .filter_map(|artifact| Some(artifact["executable"].as_str()?.to_owned()))
        .collect()
}

/// The target of a line in a program's list of tests.
fn target(program: &str, line: &str) -> Option<Target> {
    let test = line.strip_suffix(": test")?;
    let name = test.rsplit("::").next()?.strip_prefix(PREFIX)?;
    Some(Target {
        name: name.replace('_', "-"),
        program: program.to_owned(),
        test: test.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::{programs, target};

    #[test]
    fn targets_are_the_tests_that_are_named_so() {
        let built = r#"
            {"target": {"name": "waterspout_core"}, "executable": "/core"}
            {"target": {"name": "fuzz"}, "executable": "/fuzz"}
            {"target": {"name": "waterspout_worker"}, "executable": null}
            {"target": {"name": "waterspout_worker"}, "executable": "/worker"}"#;
        assert_eq!(programs(built), ["/fuzz", "/worker"]);
        let found = target("/worker", "task::tests::fuzz_two_words: test").expect("it is one");
        assert_eq!(
            (found.name.as_str(), found.test.as_str()),
            ("two-words", "task::tests::fuzz_two_words")
        );
        assert!(target("/worker", "task::tests::another: test").is_none());
        assert!(target("/worker", "3 tests, 0 benchmarks").is_none());
    }
}

//! The gate, and running the tests.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::run::cargo;
use crate::{setup, tidy};

/// Runs the whole gate, step by step.
pub(crate) fn ci() -> anyhow::Result<()> {
    let steps: [(&str, fn() -> anyhow::Result<()>); 6] = [
        ("setup", setup::setup),
        ("format", || {
            cargo("cargo fmt", &["fmt", "--all", "--check"]).status()
        }),
        ("lints", || {
            let args = [
                "clippy",
                "--release",
                "--locked",
                "--workspace",
                "--all-targets",
                "--quiet",
                "--",
                "-D",
                "warnings",
            ];
            cargo("cargo clippy", &args).status()
        }),
        ("tests", || test(&[])),
        ("tidy", tidy::tidy),
        ("docs", || {
            let args = [
                "doc",
                "--release",
                "--locked",
                "--workspace",
                "--no-deps",
                "--document-private-items",
                "--quiet",
            ];
            cargo("cargo doc", &args)
                .env("RUSTDOCFLAGS", "-D warnings")
                .status()
        }),
    ];
    let mut times = Vec::new();
    for (name, step) in steps {
        say(&format!("{name} ..."));
        let started = Instant::now();
        step()
            .with_context(|| format!("the step '{name}' failed; mend it and run `cargo xtask ci` again"))?;
        times.push((name, started.elapsed()));
    }
    for (name, time) in &times {
        say(&format!("{name:<8} {:>6.1} s", time.as_secs_f64()));
    }
    let all: Duration = times.iter().map(|time| time.1).sum();
    say(&format!("all passed in {:.1} s", all.as_secs_f64()));
    Ok(())
}

/// Builds the programs, which the end-to-end tests start, and runs tests.
pub(crate) fn test(filters: &[String]) -> anyhow::Result<()> {
    setup::setup()?;
    say("building the programs");
    cargo(
        "cargo build",
        &[
            "build",
            "--release",
            "--locked",
            "--workspace",
            "--bins",
            "--quiet",
        ],
    )
    .status()?;
    say("running the tests");
    // One at a time where tests start processes of their own and kill them: two cores are few.
    cargo(
        "cargo test",
        &["test", "--release", "--locked", "--workspace", "--no-fail-fast"],
    )
    .args(filters.iter().take(1))
    .args(
        (filters.len() > 1)
            .then_some("--")
            .into_iter()
            .map(str::to_owned)
            .chain(filters.iter().skip(1).cloned()),
    )
    .status()
}

fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "xtask: {what}");
}

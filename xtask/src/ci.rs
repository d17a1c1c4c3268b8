//! `cargo xtask ci`: the whole gate, step by step.
//!
//! The steps are in the order of how soon they tell something. Everything is built in the release profile.

use std::time::{Duration, Instant};

use anyhow::anyhow;

use crate::run::{Workspace, say};
use crate::{lint, setup, test, tidy};

struct GateStep {
    name: &'static str,
    action: Action,
    /// What may mend it, if a command can.
    remedy: Option<&'static str>,
}

enum Action {
    /// A command of cargo, with a variable of its environment.
    Cargo(&'static str, Option<(&'static str, &'static str)>),
    /// One of the commands here.
    Own(&'static str, fn(&Workspace) -> anyhow::Result<()>),
}

const STEPS: [GateStep; 6] = [
    GateStep {
        name: "setup",
        action: Action::Own("setup", |workspace| setup::setup(workspace, false)),
        remedy: None,
    },
    GateStep {
        name: "format",
        action: Action::Cargo("fmt --all --check", None),
        remedy: Some("cargo fmt --all"),
    },
    GateStep {
        name: "lints",
        action: Action::Own("lint", lint::lint),
        remedy: None,
    },
    GateStep {
        name: "tidy",
        action: Action::Own("tidy", tidy::tidy),
        remedy: None,
    },
    GateStep {
        name: "tests",
        action: Action::Own("test", |workspace| test::test(workspace, &[])),
        remedy: None,
    },
    GateStep {
        name: "docs",
        action: Action::Cargo(
            "doc --workspace --no-deps --release --locked --document-private-items",
            Some(("RUSTDOCFLAGS", "-D warnings")),
        ),
        remedy: None,
    },
];

/// Runs the whole gate.
pub(crate) fn ci(workspace: &Workspace) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut took = Vec::new();
    let mut outcome = Ok(());
    for (number, step) in (1..).zip(&STEPS) {
        let elapsed = seconds(started.elapsed());
        say(&format!(
            "[{number}/{}] {} (after {elapsed})",
            STEPS.len(),
            step.name
        ));
        let step_started = Instant::now();
        outcome = step.action.run(workspace);
        took.push(step_started.elapsed());
        if outcome.is_err() {
            break;
        }
    }
    for line in table(&took, outcome.is_ok()) {
        say(&line);
    }
    outcome.map_err(|error| {
        let step = &STEPS[took.len() - 1];
        anyhow!("step '{}': {error:#}\n{}", step.name, step.advice())
    })
}

impl GateStep {
    fn advice(&self) -> String {
        let alone = format!("run only this step: {}", self.action.shown());
        match self.remedy {
            Some(remedy) => format!("{alone}\nmend it: {remedy}"),
            None => alone,
        }
    }
}

impl Action {
    fn run(&self, workspace: &Workspace) -> anyhow::Result<()> {
        match self {
            Self::Own(_, run) => run(workspace),
            Self::Cargo(words, variable) => {
                // No word has blanks, so nothing needs quotes.
                let words: Vec<&str> = words.split(' ').collect();
                let mut step = workspace.cargo(&words).calm();
                if let Some((name, value)) = variable {
                    step = step.env(name, value);
                }
                step.pass_through()
            }
        }
    }

    /// The command line of this alone.
    fn shown(&self) -> String {
        match self {
            Self::Own(name, _) => format!("cargo xtask {name}"),
            Self::Cargo(words, None) => format!("cargo {words}"),
            Self::Cargo(words, Some((name, value))) => format!("{name}='{value}' cargo {words}"),
        }
    }
}

/// A line for each step: how long it took, or that it was not run. The last step that ran may have failed.
fn table(took: &[Duration], passed: bool) -> Vec<String> {
    let mut lines: Vec<String> = (1..)
        .zip(&STEPS)
        .map(|(number, step)| match took.get(number - 1) {
            Some(time) if number == took.len() && !passed => {
                format!("{:<8}{:>9}  failed", step.name, seconds(*time))
            }
            Some(time) => format!("{:<8}{:>9}", step.name, seconds(*time)),
            None => format!("{:<8}{:>9}", step.name, "not run"),
        })
        .collect();
    let verdict = if passed { "  passed" } else { "" };
    lines.push(format!("{:<8}{:>9}{verdict}", "all", seconds(took.iter().sum())));
    lines
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_passed_what_failed_and_what_was_not_run() {
        let took = [Duration::from_millis(40), Duration::from_millis(1500)];
        let lines = [
            "setup       0.0 s",
            "format      1.5 s  failed",
            "lints     not run",
            "tidy      not run",
            "tests     not run",
            "docs      not run",
            "all         1.5 s",
        ];
        assert_eq!(table(&took, false), lines);
        let passed = table(&[Duration::from_secs(2); 6], true);
        assert_eq!(passed[5..], ["docs        2.0 s", "all        12.0 s  passed"]);
    }

    #[test]
    fn a_step_says_how_to_run_it_alone() {
        assert_eq!(
            STEPS[1].advice(),
            "run only this step: cargo fmt --all --check\nmend it: cargo fmt --all"
        );
        assert_eq!(
            STEPS[5].action.shown(),
            "RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --release --locked --document-private-items"
        );
    }
}

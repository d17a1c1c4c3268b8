//! `cargo xtask test`: the programs, then the tests that run them.

use crate::run::{Workspace, say};
use crate::setup;

/// The programs first: the end-to-end tests start them, and cargo does not build one crate's programs for another's tests.
const PROGRAMS: [&str; 5] = ["build", "--release", "--locked", "--workspace", "--bins"];

/// A failure in one crate does not hide those in the next ones.
const TESTS: [&str; 5] = ["test", "--release", "--locked", "--workspace", "--no-fail-fast"];

/// Runs all tests, or those whose name has one of the words.
pub(crate) fn test(workspace: &Workspace, filters: &[String]) -> anyhow::Result<()> {
    setup::setup(workspace, false)?;
    say("building the programs");
    workspace.cargo(&PROGRAMS).calm().pass_through()?;
    say("running the tests");
    workspace
        .cargo(&TESTS)
        .args(&after_dashes(filters))
        .pass_through()
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
}

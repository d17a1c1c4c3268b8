//! The top level has the names that it is known by, and no others.

use std::collections::BTreeSet;

use super::Finding;

/// What lies at the top level: the one list.
const TOP_LEVEL: [&str; 28] = [
    ".cargo",
    ".ci",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "api",
    "bench",
    "charts",
    "cli",
    "core",
    "crds",
    "derive",
    "docs",
    "e2e",
    "examples",
    "fuzz",
    "script",
    "images",
    "operator",
    "rustfmt.toml",
    "umbrella",
    "worker",
    "xtask",
];

/// Checks the files of the repository.
pub(super) fn check(paths: &[String]) -> Vec<Finding> {
    let there: BTreeSet<&str> = paths.iter().map(|path| first(path)).collect();
    let odd = there.iter().filter(|name| !TOP_LEVEL.contains(name));
    let odd = odd.map(|name| {
        let what = "it does not belong at the top level; put it into one of the folders, or into .gitignore";
        Finding::new(name, 1, what)
    });
    let missing = TOP_LEVEL.iter().filter(|name| !there.contains(*name));
    let missing = missing.map(|name| Finding::new(name, 1, "it is missing from the top level; add it"));
    odd.chain(missing).collect()
}

fn first(path: &str) -> &str {
    path.split('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_odd_and_what_is_missing_at_the_top_level_is_found() {
        let mut paths: Vec<String> = TOP_LEVEL.iter().map(|name| format!("{name}/file")).collect();
        assert_eq!(check(&paths), []);
        paths.retain(|path| !path.starts_with("docs"));
        paths.push("notes.txt".to_owned());
        let found: Vec<String> = check(&paths).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "notes.txt:1: it does not belong at the top level; put it into one of the folders, or into .gitignore",
                "docs:1: it is missing from the top level; add it",
            ]
        );
    }
}

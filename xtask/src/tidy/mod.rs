//! The rules that a machine can check. Each finding is `path:line: what, and what to do`.

mod arrows;
mod links;
mod sources;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::generate;
use crate::run::{program, repository};

/// What may lie at the top level.
const TOP_LEVEL: [&str; 23] = [
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
    "docs",
    "e2e",
    "examples",
    "operator",
    "rustfmt.toml",
    "worker",
    "xtask",
];

/// A file of the repository.
struct Source {
    /// From the repository's folder on.
    path: PathBuf,
    text: String,
}

/// Checks all rules.
pub(crate) fn tidy() -> anyhow::Result<()> {
    let files = files()?;
    let mut findings = top_level(&files);
    let mut sources = Vec::new();
    for path in files {
        let full = repository().join(&path);
        let ending = path.extension().and_then(|ending| ending.to_str());
        if full.is_symlink() || !matches!(ending, Some("rs" | "md")) {
            continue;
        }
        let text = std::fs::read_to_string(&full).with_context(|| format!("read '{}'", path.display()))?;
        sources.push(Source { path, text });
    }
    for source in &sources {
        match source.path.extension().and_then(|ending| ending.to_str()) {
            Some("rs") => findings.extend(sources::check(&source.path, &source.text)),
            _ => findings.extend(links::check(&repository(), &source.path, &source.text)),
        }
    }
    findings.extend(arrows::check()?);
    findings.extend(generate::stale()?);
    for finding in &findings {
        writeln!(std::io::stderr(), "{finding}").context("say what was found")?;
    }
    match findings.len() {
        0 => Ok(()),
        count => bail!("{count} findings"),
    }
}

/// The files that belong to the repository.
fn files() -> anyhow::Result<Vec<PathBuf>> {
    let list = program(
        "git ls-files",
        "git",
        &["ls-files", "--cached", "--others", "--exclude-standard"],
    )
    .output()?;
    Ok(list
        .lines()
        .map(PathBuf::from)
        .filter(|path| repository().join(path).symlink_metadata().is_ok())
        .collect())
}

fn top_level(files: &[PathBuf]) -> Vec<String> {
    let mut odd: Vec<_> = files
        .iter()
        .filter_map(|path| {
            path.components()
                .next()
                .map(|first| first.as_os_str().to_string_lossy().into_owned())
        })
        .filter(|first| !TOP_LEVEL.contains(&first.as_str()))
        .map(|first| format!("{first}:1: not a name of the top level; put it into one of its folders"))
        .collect();
    odd.sort();
    odd.dedup();
    odd
}

/// The number of a line for an offset in a text.
fn line_of(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}

/// Whether a path lies in one of these folders.
fn is_in(path: &Path, folders: &[&str]) -> bool {
    folders.iter().any(|folder| path.starts_with(folder))
}

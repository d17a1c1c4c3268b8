//! `cargo xtask tidy`: the rules that a machine can check.
//!
//! Owns: which files there are to check, and how findings are shown: `path:line: what, what to do`. Leaves to others:
//! the rules, one file for each kind.

mod arrows;
mod code;
mod layout;
mod links;
mod names;
mod sources;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::generate;
use crate::run::{Workspace, say};

/// A place where a rule is broken.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: String,
    line: usize,
    what: String,
}

impl Finding {
    /// Says what is wrong at a line of a file, and what to do.
    pub(crate) fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            what: what.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// A text file of the repository.
struct Source {
    /// From the repository's folder on, with slashes.
    path: String,
    text: String,
}

/// Checks all rules.
///
/// # Errors
/// If there are findings; they are on standard error.
pub(crate) fn tidy(workspace: &Workspace) -> anyhow::Result<()> {
    let paths = paths(workspace)?;
    let rust = read(workspace, &paths, ".rs")?;
    let pages = read(workspace, &paths, ".md")?;
    let report = sources::check(&rust);
    let mut findings = report.findings;
    findings.extend(layout::check(&paths));
    findings.extend(pages.iter().flat_map(|page| links::check(&workspace.root, page)));
    findings.extend(arrows::check(workspace)?);
    findings.extend(generate::check(workspace)?);
    findings.sort();
    for warning in &report.warnings {
        say(&format!("warning: {warning}"));
    }
    for finding in &findings {
        say(&finding.to_string());
    }
    match findings.len() {
        0 => Ok(()),
        1 => bail!("1 finding"),
        count => bail!("{count} findings"),
    }
}

/// Reads the files with this ending, links left out: what they lead to is read where it lies.
fn read(workspace: &Workspace, paths: &[String], ending: &str) -> anyhow::Result<Vec<Source>> {
    let mut sources = Vec::new();
    for path in paths.iter().filter(|path| path.ends_with(ending)) {
        let full = workspace.root.join(path);
        if full.is_symlink() {
            continue;
        }
        let text = fs::read_to_string(&full).with_context(|| format!("read '{path}'"))?;
        sources.push(Source {
            path: path.clone(),
            text,
        });
    }
    Ok(sources)
}

/// The files that belong to the repository, whether git knows them yet or not.
fn paths(workspace: &Workspace) -> anyhow::Result<Vec<String>> {
    if !workspace.root.join(".git").exists() {
        return walk(&workspace.root);
    }
    let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let list = workspace.program("git", &list).output()?;
    let mut paths: Vec<String> = list.split_terminator('\0').map(str::to_owned).collect();
    // Git still lists what was deleted and not yet committed.
    paths.retain(|path| workspace.root.join(path).symlink_metadata().is_ok());
    Ok(paths)
}

/// All files below `root`, for a copy of the repository without git.
fn walk(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut folders = vec![PathBuf::new()];
    let mut paths = Vec::new();
    while let Some(folder) = folders.pop() {
        let entries =
            fs::read_dir(root.join(&folder)).with_context(|| format!("read '{}'", folder.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("read '{}'", folder.display()))?;
            let path = folder.join(entry.file_name());
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder && path != Path::new("target") {
                folders.push(path);
            } else if !is_folder {
                paths.push(path.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    paths.sort();
    Ok(paths)
}

/// The number of the line that an offset lies in.
fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
}

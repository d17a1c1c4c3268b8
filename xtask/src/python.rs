//! The tests' own Python: a virtual environment in the target folder, with what `xtask/requirements.txt` pins.
//!
//! Owns: making it, and saying what stands in the way. Invariant: it has exactly what the file pins, or it is not there:
//! one that was not finished, or is of other pins, is made anew.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, bail};

use crate::run::{Workspace, say};

/// What is pinned, from the repository's folder on.
const REQUIREMENTS: &str = "xtask/requirements.txt";

/// The file that is there once all is installed: a copy of the pins.
const INSTALLED: &str = "installed.txt";

/// A program of the environment.
pub(crate) fn program(workspace: &Workspace, name: &str) -> PathBuf {
    folder(workspace).join("bin").join(name)
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target_folder().join("python")
}

/// Makes the environment if it is not there; with `check`, installs nothing.
///
/// # Errors
/// If it cannot be made, or is not there and may not be made.
pub(crate) fn provide(workspace: &Workspace, check: bool) -> anyhow::Result<()> {
    let pins = fs::read_to_string(workspace.root.join(REQUIREMENTS))
        .with_context(|| format!("read '{REQUIREMENTS}'"))?;
    let folder = folder(workspace);
    let installed = folder.join(INSTALLED);
    let python = program(workspace, "python");
    if python.exists() && fs::read_to_string(&installed).is_ok_and(|text| text == pins) {
        return Ok(());
    }
    if check {
        bail!(
            "the Python packages of the tests are not in '{}'; run `cargo xtask setup`",
            folder.display()
        );
    }
    let started = Instant::now();
    say(&format!(
        "installing {} Python packages into '{}' (half a minute)",
        pins.lines().filter(|line| line.contains("==")).count(),
        folder.display()
    ));
    let folder = folder.to_string_lossy();
    workspace
        .program("python3", &["-m", "venv", "--clear", &folder])
        .quietly()?;
    let python = python.to_string_lossy();
    let install = ["-m", "pip", "-q", "--disable-pip-version-check", "install"];
    let install = [&install[..], &["--require-hashes", "-r", REQUIREMENTS]].concat();
    workspace.program(&python, &install).quietly()?;
    fs::write(&installed, pins).with_context(|| format!("write '{}'", installed.display()))?;
    say(&format!("installed in {:.1} s", started.elapsed().as_secs_f64()));
    Ok(())
}

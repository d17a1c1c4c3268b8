//! Running other programs, with their names in every error.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// The repository's folder.
pub(crate) fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or_else(|| here.to_owned(), Path::to_owned)
}

/// A program to run, and what it is for.
pub(crate) struct Step {
    what: String,
    command: Command,
}

/// A program.
pub(crate) fn program(what: &str, name: &str, args: &[&str]) -> Step {
    let mut command = Command::new(name);
    command.args(args).current_dir(repository());
    Step {
        what: what.to_owned(),
        command,
    }
}

/// Cargo, the same one that runs this.
pub(crate) fn cargo(what: &str, args: &[&str]) -> Step {
    program(
        what,
        &std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()),
        args,
    )
}

impl Step {
    /// Adds arguments.
    pub(crate) fn args<S: AsRef<std::ffi::OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets a variable of its environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it with its output passed through.
    pub(crate) fn status(mut self) -> anyhow::Result<()> {
        let status = self
            .command
            .status()
            .with_context(|| format!("start '{}'", self.what))?;
        if !status.success() {
            bail!("'{}' failed ({status}); its output is above", self.what);
        }
        Ok(())
    }

    /// Runs it and returns what it wrote to standard output.
    pub(crate) fn output(mut self) -> anyhow::Result<String> {
        let output = self
            .command
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("start '{}'", self.what))?;
        if !output.status.success() {
            bail!("'{}' failed ({}); its output is above", self.what, output.status);
        }
        String::from_utf8(output.stdout).with_context(|| format!("read what '{}' wrote", self.what))
    }
}

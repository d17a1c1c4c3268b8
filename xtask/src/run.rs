//! Running other programs, with their command lines in every error, and telling the user what goes on.

use std::ffi::OsString;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// The repository and what builds it.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// The repository's folder.
    pub(crate) root: PathBuf,
    /// The cargo that runs this.
    pub(crate) cargo: OsString,
    /// Where it is told to put what it builds, as an absolute path.
    pub(crate) target: Option<PathBuf>,
    /// The cluster that the user has named for the tests.
    pub(crate) kubeconfig: Option<PathBuf>,
}

impl Workspace {
    /// A program that will run in the repository's folder.
    pub(crate) fn program(&self, name: &str, args: &[&str]) -> Step {
        let mut command = Command::new(name);
        command.args(args).current_dir(&self.root).stdin(Stdio::null());
        let shown = [&[name], args].concat().join(" ");
        Step { shown, command }
    }

    /// Where built files go.
    pub(crate) fn target_folder(&self) -> PathBuf {
        self.target.clone().unwrap_or_else(|| self.root.join("target"))
    }

    /// Whether this runs as root.
    pub(crate) fn is_root(&self) -> anyhow::Result<bool> {
        Ok(self.program("id", &["-u"]).output()?.trim() == "0")
    }

    /// The same cargo that runs this.
    pub(crate) fn cargo(&self, args: &[&str]) -> Step {
        let mut step = self.program("cargo", args);
        step.command = Command::new(&self.cargo);
        step.command.args(args).current_dir(&self.root);
        if let Some(target) = &self.target {
            step.command.env("CARGO_TARGET_DIR", target);
        }
        step
    }
}

/// A program to run.
pub(crate) struct Step {
    shown: String,
    command: Command,
}

impl Step {
    /// Adds arguments.
    pub(crate) fn args(mut self, args: &[String]) -> Self {
        for arg in args {
            self.shown.push(' ');
            self.shown.push_str(arg);
        }
        self.command.args(args);
        self
    }

    /// Sets a variable of its environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Keeps cargo from naming each crate it compiles where no one watches; what fails is still shown.
    pub(crate) fn calm(self) -> Self {
        if std::io::stderr().is_terminal() {
            self
        } else {
            self.env("CARGO_TERM_QUIET", "true")
        }
    }

    /// What it reads from standard input.
    pub(crate) fn stdin(mut self, file: File) -> Self {
        self.command.stdin(file);
        self
    }

    /// Runs it with its output passed through.
    pub(crate) fn pass_through(mut self) -> anyhow::Result<()> {
        let status = self.command.status();
        let status = status.with_context(|| format!("start `{}`", self.shown))?;
        if !status.success() {
            bail!("`{}` failed ({status}); its output is above", self.shown);
        }
        Ok(())
    }

    /// Runs it, and shows its output only if it fails.
    pub(crate) fn quietly(mut self) -> anyhow::Result<()> {
        let output = self.command.output();
        let output = output.with_context(|| format!("start `{}`", self.shown))?;
        if !output.status.success() {
            let mut stderr = std::io::stderr();
            // If that cannot be written, the error below cannot either.
            let _ = stderr
                .write_all(&output.stdout)
                .and_then(|()| stderr.write_all(&output.stderr));
            bail!("`{}` failed ({}); its output is above", self.shown, output.status);
        }
        Ok(())
    }

    /// Runs it, and returns what it wrote to standard output unless it fails, which is no more than an answer.
    pub(crate) fn silently(mut self) -> Option<String> {
        let output = self.command.output().ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs it and returns what it wrote to standard output.
    pub(crate) fn output(mut self) -> anyhow::Result<String> {
        let output = self.command.stderr(Stdio::inherit()).output();
        let output = output.with_context(|| format!("start `{}`", self.shown))?;
        if !output.status.success() {
            bail!("`{}` failed ({}); its output is above", self.shown, output.status);
        }
        String::from_utf8(output.stdout).with_context(|| format!("read what `{}` wrote", self.shown))
    }
}

/// Tells the user something, on standard error.
pub(crate) fn say(line: &str) {
    // Who closed standard error does not want to hear it.
    let _ = writeln!(std::io::stderr(), "xtask: {line}");
}

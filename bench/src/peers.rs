//! The same workloads in other systems: each folder of `bench/peers` with a program `run` is one.
//!
//! Owns: calling them and reading what they print, as `bench/peers/README.md` says. Leaves to others: everything about
//! the systems themselves.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use serde::Deserialize;
use waterspout_worker::component::generator;

use crate::workloads::SENTENCE;

/// A system.
pub(crate) struct Peer {
    pub(crate) name: String,
    program: PathBuf,
    /// Its own, to build in and to keep what it fetches.
    folder: PathBuf,
}

/// A figure as a peer prints it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Printed {
    pub(crate) suffix: String,
    pub(crate) unit: String,
    pub(crate) value: f64,
}

/// All of them, by name. What they share is written where they look for it.
pub(crate) fn all() -> anyhow::Result<Vec<Peer>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
    let own = std::env::current_exe().context("find this program's own file")?;
    let target = own
        .ancestors()
        .nth(2)
        .context("it lies in a folder of its profile")?;
    let target = target.join("peers");
    std::fs::create_dir_all(&target).with_context(|| format!("make '{}'", target.display()))?;
    let sentences = target.join("sentences.txt");
    std::fs::write(&sentences, generator::sentences(&SENTENCE).join("\n"))
        .with_context(|| format!("write '{}'", sentences.display()))?;
    let entries = std::fs::read_dir(&folder).with_context(|| format!("read '{}'", folder.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry
            .with_context(|| format!("read '{}'", folder.display()))?
            .path();
        let program = path.join("run");
        if let (true, Some(name)) = (program.is_file(), path.file_name()) {
            let name = name.to_string_lossy().into_owned();
            let folder = target.join(&name);
            found.push(Peer {
                name,
                program,
                folder,
            });
        }
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

impl Peer {
    /// Runs a workload once; no figures if the system does not have it.
    pub(crate) fn run(&self, workload: &str, python: &Path) -> anyhow::Result<Vec<Printed>> {
        let output = Command::new(&self.program)
            .arg(&self.folder)
            .arg(workload)
            .arg(python)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("start '{}'", self.program.display()))?;
        ensure!(
            output.status.success(),
            "'{} {workload}' failed ({}); its output is above",
            self.program.display(),
            output.status
        );
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines()
            .map(|line| {
                serde_json::from_str(line)
                    .with_context(|| format!("read the figure '{line}' of '{}'", self.name))
            })
            .collect()
    }
}

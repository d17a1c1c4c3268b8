//! `waterspout validate`, and reading a manifest for the other commands.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;
use thiserror::Error;
use waterspout_api::manifest::{Diagnostic, Manifest};
use waterspout_api::resource::Topology;
use waterspout_core::graph::Graph;
use waterspout_worker::component::Components;

use crate::{Output, own};

/// Why a manifest cannot be used.
#[derive(Debug, Error)]
pub(crate) enum ManifestError {
    /// The file cannot be read.
    #[error("cannot read '{}': {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// Something is wrong with what it says.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n"))]
    Wrong(Vec<Diagnostic>),
}

/// Reads a manifest; `-` is standard input.
///
/// # Errors
/// If it cannot be read, or something is wrong with it.
pub(crate) fn read(path: &Path, components: &Components) -> Result<Manifest, ManifestError> {
    parse(path, &read_text(path)?, components)
}

/// Reads the text of a manifest; `-` is standard input.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn read_text(path: &Path) -> Result<String, ManifestError> {
    let bytes = if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else if path.is_dir() {
        Err(std::io::ErrorKind::IsADirectory.into())
    } else {
        std::fs::read(path)
    };
    let unreadable = |reason: String| ManifestError::Read {
        path: path.to_owned(),
        reason,
    };
    let bytes = bytes.map_err(|error| {
        unreadable(match error.kind() {
            std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
            std::io::ErrorKind::IsADirectory => "it is a directory; name a manifest in it".to_owned(),
            std::io::ErrorKind::PermissionDenied => {
                "this user may not read it; check its permissions".to_owned()
            }
            _ => error.to_string(),
        })
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..at]
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count()
            + 1;
        unreadable(format!(
            "it is not UTF-8 (byte {at}, line {line}); save it as UTF-8"
        ))
    })
}

/// The manifest of a text that was read from `path`.
///
/// # Errors
/// If something is wrong with it.
pub(crate) fn parse(path: &Path, text: &str, components: &Components) -> Result<Manifest, ManifestError> {
    let check = |topology: &Topology| own::faults(topology, components);
    Manifest::parse_with(&path.display().to_string(), text, check).map_err(ManifestError::Wrong)
}

/// Checks manifests and says what is wrong with them.
pub(crate) fn validate(files: &[PathBuf], output: Output, components: &Components) -> ExitCode {
    let mut all_valid = true;
    for file in files {
        let outcome = read(file, components);
        all_valid &= outcome.is_ok();
        let written = match (output, &outcome) {
            (Output::Text, Ok(manifest)) => {
                writeln!(std::io::stdout(), "{}: {}", file.display(), describe(manifest))
            }
            (Output::Text, Err(ManifestError::Wrong(faults))) => {
                let count = faults.len();
                let plural = if count == 1 { "" } else { "s" };
                faults
                    .iter()
                    .try_for_each(|fault| writeln!(std::io::stderr(), "{fault}\n"))
                    .and_then(|()| writeln!(std::io::stderr(), "{}: {count} error{plural}", file.display()))
            }
            (Output::Text, Err(error)) => writeln!(std::io::stderr(), "error: {error}"),
            (Output::Json, outcome) => writeln!(std::io::stdout(), "{}", to_json(file, outcome)),
        };
        if written.is_err() {
            return ExitCode::FAILURE;
        }
    }
    if all_valid {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn describe(manifest: &Manifest) -> String {
    let components = manifest.graph_spec().components.len();
    let tasks: u32 = manifest
        .graph_spec()
        .components
        .iter()
        .map(|component| component.replicas)
        .sum();
    let name = manifest.name();
    format!("topology '{name}' is valid: {components} components, {tasks} tasks")
}

fn to_json(file: &Path, outcome: &Result<Manifest, ManifestError>) -> serde_json::Value {
    let file = file.display().to_string();
    match outcome {
        Ok(manifest) => json!({"file": file, "valid": true, "topology": manifest.name(), "errors": []}),
        Err(ManifestError::Read { reason, .. }) => {
            json!({"file": file, "valid": false, "errors": [{"message": reason}]})
        }
        Err(ManifestError::Wrong(faults)) => {
            let errors: Vec<_> = faults
                .iter()
                .map(|fault| {
                    json!({
                        "line": fault.line,
                        "column": fault.column,
                        "length": fault.length,
                        "message": fault.message,
                        "help": fault.help,
                    })
                })
                .collect();
            json!({"file": file, "valid": false, "errors": errors})
        }
    }
}

/// The checked graph of a manifest.
pub(crate) fn graph(manifest: &Manifest) -> Graph {
    Graph::parse(manifest.graph_spec().clone())
        .expect("a manifest that was read has a graph that was checked")
}

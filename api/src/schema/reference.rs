//! The reference page: one table per object of the schema.

use std::fmt::Write;

use super::field::Field;
use super::{GenerateError, object_schema};
use crate::resource::{API_VERSION, KIND};

const INTRODUCTION: &str = "\
<!-- Generated from api/src/resource by `cargo xtask generate`. Do not edit. -->
# Topology

The resource `Topology` (`{API}`), field by field. `waterspout explain spouts.file` and
`kubectl explain topology.spec.spouts.file` show the same texts.

A *new epoch* means that tasks are placed anew and go on; workers that stay are not restarted. A *new revision* means
that the topology is started anew with what changed. A duration is a whole number with a unit, one or more times:
`500ms`, `30s`, `1m30s`, `2h`.
";

/// The text of `docs/reference/topology.md`.
///
/// # Errors
///
/// Those of [`GenerateError`].
pub fn reference() -> Result<String, GenerateError> {
    let schema = object_schema()?;
    let mut page = INTRODUCTION.replace("{API}", API_VERSION).replace("{KIND}", KIND);
    let root = Field::root(&schema);
    for part in ["spec", "status"] {
        if let Some(field) = root.field(part) {
            section(&mut page, part, field);
        }
    }
    Ok(page)
}

/// One object, and then those in it.
fn section(page: &mut String, path: &str, field: Field<'_>) {
    let path = if field.is_list() {
        format!("{path}[]")
    } else {
        path.to_owned()
    };
    let text = if field.is_list() {
        field.element_text()
    } else {
        field.text()
    };
    // Writing to a text does not fail.
    let _ = writeln!(page, "\n## `{path}`\n\n{}\n", wrapped(&text));
    let _ = writeln!(page, "| field | type | default | |\n|---|---|---|---|");
    for inner in field.fields() {
        let name = if inner.fields().is_empty() {
            format!("`{}`", inner.name)
        } else {
            format!("[`{}`](#{})", inner.name, anchor(&path, inner))
        };
        let (kind, default, text) = (cell(&inner.kind()), cell(&inner.default()), cell(&inner.text()));
        let _ = writeln!(page, "| {name} | {kind} | {default} | {text} |");
    }
    for rule in field.rules() {
        let _ = writeln!(page, "\nRule: {rule}.");
    }
    for inner in field
        .fields()
        .into_iter()
        .filter(|inner| !inner.fields().is_empty())
    {
        section(page, &format!("{path}.{}", inner.name), inner);
    }
}

/// What a heading's anchor is: its letters, digits and hyphens.
fn anchor(path: &str, field: Field<'_>) -> String {
    let heading = format!("{path}{}", field.name).to_lowercase();
    heading
        .chars()
        .filter(|character| character.is_ascii_alphanumeric() || *character == '-')
        .collect()
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// The text in lines of at most 120 characters.
fn wrapped(text: &str) -> String {
    super::wrap(text, 120, "")
}

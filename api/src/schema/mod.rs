//! The schema of the resource, and what is generated from it.
//!
//! Owns: the CustomResourceDefinition, as an object and as YAML; the reference page; `explain`. Leaves to others:
//! enforcing the schema. Invariants: the schema is structural; it has no `nullable`, so that `null` means "absent"
//! where there is a default and is an error elsewhere; no number format that the API server does not know.

mod explain;
mod field;
mod reference;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

use crate::resource::Topology;

pub use explain::{ExplainError, explain};
pub use reference::reference;

/// Why generated text cannot be made. It does not depend on input.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// The resource's definition does not serialize.
    #[error("cannot write the definition of the resource")]
    WriteDefinition(#[source] serde_json::Error),
    /// The definition cannot be written as YAML.
    #[error("cannot write the definition of the resource as YAML")]
    WriteYaml(#[source] serde_yaml::Error),
}

/// The CustomResourceDefinition as JSON.
///
/// # Errors
///
/// [`GenerateError::WriteDefinition`].
pub fn crd() -> Result<Value, GenerateError> {
    let definition: CustomResourceDefinition = Topology::crd();
    let mut definition = serde_json::to_value(definition).map_err(GenerateError::WriteDefinition)?;
    plain(&mut definition);
    Ok(definition)
}

/// The CustomResourceDefinition as YAML: the text of `crds/topologies.yaml`.
///
/// # Errors
///
/// Those of [`GenerateError`].
pub fn crd_yaml() -> Result<String, GenerateError> {
    let yaml = serde_yaml::to_string(&crd()?).map_err(GenerateError::WriteYaml)?;
    Ok(format!(
        "# Generated from api/src/resource by `cargo xtask generate`. Do not edit.\n{yaml}"
    ))
}

/// The schema of a whole object, as the API server has it.
pub(crate) fn object_schema() -> Result<Value, GenerateError> {
    let mut definition = crd()?;
    Ok(definition
        .pointer_mut("/spec/versions/0/schema/openAPIV3Schema")
        .map(Value::take)
        .unwrap_or_default())
}

/// Takes out what the derive puts in and the API server does not need: see the invariants above.
fn plain(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if map.get("nullable") == Some(&Value::Bool(true)) {
                map.shift_remove("nullable");
            }
            if map.get("additionalProperties") == Some(&Value::Bool(false)) {
                map.shift_remove("additionalProperties");
            }
            for limit in ["minimum", "maximum"] {
                // Limits are floats in the definition's type, and whole numbers for people.
                if let Some(value) = map.get_mut(limit)
                    && let Some(float) = value.as_f64().filter(|float| float.fract() == 0.0)
                {
                    #[allow(clippy::cast_possible_truncation)]
                    let whole = float as i64;
                    *value = whole.into();
                }
            }
            let format = map.get("format").and_then(Value::as_str);
            if format.is_some_and(|format| format.starts_with("uint")) {
                map.shift_remove("format");
            }
            map.values_mut().for_each(plain);
        }
        Value::Array(list) => list.iter_mut().for_each(plain),
        _ => {}
    }
}

/// A text in lines of at most so many characters, each after an indentation.
fn wrap(text: &str, width: usize, indent: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut line = indent.to_owned();
    for word in text.split_whitespace() {
        if line.len() > indent.len() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::replace(&mut line, indent.to_owned()));
        }
        if line.len() > indent.len() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines.join("\n")
}

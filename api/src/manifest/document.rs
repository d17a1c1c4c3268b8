//! What each document of a manifest is.
//!
//! Owns: telling Topology, ConfigMap and anything else apart, and the schemas of the whole documents. Leaves to
//! others: enforcing them (`check`). Invariant: what `kubectl get -o yaml` prints is taken, so a topology that was
//! read from a cluster can be validated and run.

use serde_json::{Value, json};

use super::diagnostic::{Diagnostic, Source, Span};
use super::node::Node;
use super::suggest;
use crate::resource::{API_VERSION, KIND, MAX_NAME, NAME_PATTERN};

/// What a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DocumentKind {
    Topology,
    ConfigMap,
}

const KINDS: [(&str, &str, DocumentKind); 2] = [
    (KIND, API_VERSION, DocumentKind::Topology),
    ("ConfigMap", "v1", DocumentKind::ConfigMap),
];

/// What a document is, by its `kind` and `apiVersion`.
///
/// # Errors
///
/// It is neither a Topology nor a ConfigMap, or does not say what it is.
pub(super) fn kind(source: &Source<'_>, document: &Node) -> Result<DocumentKind, Diagnostic> {
    let begin = Span {
        length: 1,
        ..document.span
    };
    if !matches!(document.kind, super::node::NodeKind::Map(_)) {
        let message = "the document must be a map with `apiVersion`, `kind`, `metadata` and `spec`";
        return Err(source.diagnostic(document.span, message, None));
    }
    let text = |field: &str, expected: &str| -> Result<(String, Span), Diagnostic> {
        let Some(entry) = document.entry(field) else {
            let help = Some(format!("write `{field}: {expected}`"));
            return Err(source.diagnostic(begin, format!("the document has no `{field}`"), help));
        };
        let text = entry.value.text().map(|text| (text.to_owned(), entry.value.span));
        text.ok_or_else(|| {
            let help = Some(format!("write `{field}: {expected}`"));
            source.diagnostic(entry.key_span, format!("`{field}` must be a text"), help)
        })
    };
    let (name, span) = text("kind", KIND)?;
    let Some((_, version, kind)) = KINDS.iter().find(|(known, ..)| *known == name) else {
        let help = match suggest::nearest(&name, KINDS.iter().map(|(known, ..)| *known)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "a manifest has one Topology and the ConfigMaps it uses, nothing else".to_owned(),
        };
        return Err(source.diagnostic(
            span,
            format!("a document of kind `{name}` cannot stand here"),
            Some(help),
        ));
    };
    let (given, span) = text("apiVersion", version)?;
    if given != *version {
        let message = format!("`{name}` has no version `{given}` here");
        return Err(source.diagnostic(span, message, Some(format!("write `apiVersion: {version}`"))));
    }
    Ok(*kind)
}

/// The schema of a whole Topology: that of the resource, with what the API server adds to each object.
pub(super) fn topology_schema(mut resource: Value) -> Value {
    if let Some(properties) = resource.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("apiVersion".to_owned(), json!({"type": "string"}));
        properties.insert("kind".to_owned(), json!({"type": "string"}));
        let name = json!({"type": "string", "maxLength": MAX_NAME, "pattern": NAME_PATTERN});
        properties.insert("metadata".to_owned(), metadata_schema(name));
        // What was reported is no concern of who runs or applies it.
        properties.insert("status".to_owned(), anything());
    }
    resource["required"] = json!(["metadata", "spec"]);
    resource
}

/// The schema of a ConfigMap.
pub(super) fn config_map_schema() -> Value {
    let texts = json!({"type": "object", "additionalProperties": {"type": "string"}});
    json!({
        "type": "object",
        "required": ["metadata"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": metadata_schema(json!({"type": "string", "minLength": 1, "maxLength": 253})),
            "data": texts,
            "binaryData": texts,
            "immutable": {"type": "boolean"}
        }
    })
}

fn metadata_schema(name: Value) -> Value {
    let texts = json!({"type": "object", "additionalProperties": {"type": "string"}});
    json!({
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": name,
            "namespace": {"type": "string", "minLength": 1, "maxLength": 63},
            "labels": texts,
            "annotations": texts,
            "finalizers": {"type": "array", "items": {"type": "string"}},
            "ownerReferences": anything(),
            "creationTimestamp": anything(),
            "deletionTimestamp": anything(),
            "deletionGracePeriodSeconds": anything(),
            "generation": anything(),
            "managedFields": anything(),
            "resourceVersion": anything(),
            "selfLink": anything(),
            "uid": anything()
        }
    })
}

fn anything() -> Value {
    json!({"x-kubernetes-preserve-unknown-fields": true})
}

//! A document against a schema: everything that the API server would refuse, with its place.
//!
//! Owns: unknown and missing fields, types, ranges, lengths, forms, duplicates in lists, and the schema's rules.
//! Leaves to others: the forms of rules (`rule`), what only the graph shows (`meaning`). Invariants: all faults are
//! found, not only the first; a document without faults, as JSON, is one that the API server takes.

mod list;
mod scalar;

use serde_json::{Map, Value};
use waterspout_core::component::duration;

use super::diagnostic::{Diagnostic, Source, Span};
use super::node::{Entry, Node, NodeKind};
use super::rule::Rule;
use super::suggest;

/// The document as JSON, as it would be sent.
///
/// # Errors
///
/// All faults.
pub(super) fn check(source: &Source<'_>, schema: &Value, document: &Node) -> Result<Value, Vec<Diagnostic>> {
    let mut checker = Checker {
        source,
        faults: Vec::new(),
    };
    let value = checker.node(
        schema,
        document,
        &At {
            name: "the document",
            span: document.span,
        },
    );
    if checker.faults.is_empty() {
        Ok(value)
    } else {
        Err(checker.faults)
    }
}

/// What is being checked: the name to call it by, and where to point when it lacks something.
struct At<'a> {
    name: &'a str,
    span: Span,
}

/// A rule on how many of some fields are set, and those that are.
struct SetRule<'a> {
    fields: &'a [&'a str],
    set: Vec<&'a str>,
    exactly: bool,
    /// Whether the object has a field that is not known.
    unknown: bool,
}

struct Checker<'a> {
    source: &'a Source<'a>,
    faults: Vec<Diagnostic>,
}

impl Checker<'_> {
    fn fault(&mut self, span: Span, message: String, help: Option<String>) {
        self.faults.push(self.source.diagnostic(span, message, help));
    }

    fn node(&mut self, schema: &Value, node: &Node, at: &At<'_>) -> Value {
        let expected = schema.get("type").and_then(Value::as_str).unwrap_or("");
        match (expected, &node.kind) {
            ("object", NodeKind::Map(entries)) => self.object(schema, node, entries, at),
            ("array", NodeKind::List(elements)) => self.list(schema, elements, at),
            ("string", NodeKind::Text(text)) => self.text(schema, node, text, at),
            ("integer", NodeKind::Number(number)) => self.integer(schema, node, number, at),
            ("boolean", NodeKind::Bool(value)) => Value::Bool(*value),
            ("", _) => plain(node),
            _ => self.wrong_type(schema, expected, node, at),
        }
    }

    fn wrong_type(&mut self, schema: &Value, expected: &str, node: &Node, at: &At<'_>) -> Value {
        let name = |kind: &str| match kind {
            "object" => "a map",
            "array" => "a list",
            "string" => "a text",
            "integer" => "a whole number",
            _ => "`true` or `false`",
        };
        let (found, help) = match (&node.kind, expected) {
            (NodeKind::Null, "object") => ("nothing", Some("write `{}` for one without settings".to_owned())),
            (NodeKind::Null, _) => ("nothing", None),
            (NodeKind::Bool(value), "string") => (
                "a boolean",
                Some(format!(
                    "YAML reads this as `{value}`; put it in quotes if it is a text"
                )),
            ),
            (NodeKind::Number(_), "string") => ("a number", Some(quote_or_write(schema))),
            (NodeKind::Bool(_), _) => ("a boolean", None),
            (NodeKind::Number(_), _) => ("a number", None),
            (NodeKind::Text(_), "array") => {
                ("a text", Some("put it in brackets for a list of one".to_owned()))
            }
            (NodeKind::Text(_), _) => ("a text", None),
            (NodeKind::List(_), _) => ("a list", None),
            (NodeKind::Map(_), "array") => ("a map", Some("start each element with `- `".to_owned())),
            (NodeKind::Map(_), _) => ("a map", None),
        };
        let span = if node.is_null() { at.span } else { node.span };
        self.fault(
            span,
            format!("{} must be {}, but is {found}", at.name, name(expected)),
            help,
        );
        Value::Null
    }

    fn object(&mut self, schema: &Value, node: &Node, entries: &[Entry], at: &At<'_>) -> Value {
        let open = schema.get("x-kubernetes-preserve-unknown-fields").is_some();
        let values = schema.get("additionalProperties");
        let empty = Map::new();
        let properties = schema
            .get("properties")
            .and_then(Value::as_object)
            .unwrap_or(&empty);
        let required = schema.get("required").and_then(Value::as_array);
        let required: Vec<&str> = required.into_iter().flatten().filter_map(Value::as_str).collect();
        let mut object = Map::new();
        let mut unknown = false;
        for entry in entries {
            let Some(schema) = properties.get(&entry.key).or(values) else {
                if open {
                    object.insert(entry.key.clone(), plain(&entry.value));
                } else {
                    unknown = true;
                    self.unknown_field(properties, entry, at);
                }
                continue;
            };
            // As on the API server, nothing is the default, or as if the field were not there. But a map that is
            // nothing is an error here: `global:` without `{}` would be left out, and mean another grouping.
            let expected = properties.contains_key(&entry.key)
                && (schema.get("default").is_some() || schema.get("type") != Some(&Value::from("object")));
            if entry.value.is_null() && expected && !required.contains(&entry.key.as_str()) {
                continue;
            }
            let name = format!("`{}`", entry.key);
            let value = self.node(
                schema,
                &entry.value,
                &At {
                    name: &name,
                    span: entry.key_span,
                },
            );
            object.insert(entry.key.clone(), value);
        }
        for required in required {
            // An unknown field is often the required one, misspelt.
            let misspelt = || {
                entries.iter().any(|entry| {
                    !properties.contains_key(&entry.key) && suggest::nearest(&entry.key, [required]).is_some()
                })
            };
            if node.entry(required).is_none() && !misspelt() {
                let help = properties.get(required).and_then(first_sentence);
                self.fault(at.span, format!("{} has no `{required}`", at.name), help);
            }
        }
        if let Some(most) = limit(schema, "maxProperties").filter(|most| entries.len() as u64 > *most) {
            let message = format!(
                "{} has {} entries, but may have at most {most}",
                at.name,
                entries.len()
            );
            self.fault(at.span, message, None);
        }
        for rule in rules(schema) {
            if let Some(Rule::Set { fields, exactly }) = Rule::parse(rule) {
                // What is not there, or nothing, is not in the object; what is wrong was reported and counts.
                let set: Vec<&str> = fields
                    .iter()
                    .copied()
                    .filter(|field| object.contains_key(*field))
                    .collect();
                self.set_rule(
                    SetRule {
                        fields: &fields,
                        set,
                        exactly,
                        unknown,
                    },
                    node,
                    at,
                );
            }
        }
        Value::Object(object)
    }

    fn unknown_field(&mut self, properties: &Map<String, Value>, entry: &Entry, at: &At<'_>) {
        let names = || properties.keys().map(String::as_str);
        let help = match suggest::nearest(&entry.key, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if properties.is_empty() => "it has no settings".to_owned(),
            None => format!("its fields are {}", suggest::list(names())),
        };
        self.fault(
            entry.key_span,
            format!("{} has no field `{}`", at.name, entry.key),
            Some(help),
        );
    }

    /// How many of some fields are set. If a field is unknown, it may be the one that is missing here.
    fn set_rule(&mut self, rule: SetRule<'_>, node: &Node, at: &At<'_>) {
        let names = suggest::list(rule.fields.iter().copied());
        if let [_, second, ..] = rule.set.as_slice() {
            let how_many = if rule.exactly {
                "exactly one"
            } else {
                "at most one"
            };
            let message = format!("{} sets {}", at.name, suggest::list(rule.set.iter().copied()));
            let span = node.entry(second).map_or(at.span, |entry| entry.key_span);
            self.fault(span, message, Some(format!("{how_many} of {names} may be set")));
        } else if rule.exactly && rule.set.is_empty() && !rule.unknown {
            let message = format!("{} sets none of {names}", at.name);
            self.fault(
                at.span,
                message,
                Some("exactly one of them must be set".to_owned()),
            );
        }
    }
}

fn limit(schema: &Value, key: &str) -> Option<u64> {
    schema.get(key).and_then(Value::as_u64)
}

fn rules(schema: &Value) -> impl Iterator<Item = &str> {
    let rules = schema.get("x-kubernetes-validations").and_then(Value::as_array);
    rules
        .into_iter()
        .flatten()
        .filter_map(|rule| rule.get("rule")?.as_str())
}

/// The beginning of a text that may be long.
fn short(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// What to do about a number where a text is expected.
fn quote_or_write(schema: &Value) -> String {
    match schema.get("pattern").and_then(Value::as_str) {
        Some(duration::PATTERN) => "a duration has a unit, as in `30s`".to_owned(),
        _ => "put it in quotes if it is a text".to_owned(),
    }
}

fn first_sentence(schema: &Value) -> Option<String> {
    let text = schema.get("description")?.as_str()?.replace('\n', " ");
    let end = text.find(". ").map_or(text.len(), |end| end + 1);
    Some(text[..end].trim_end_matches('.').to_owned())
}

/// A value without a schema.
fn plain(node: &Node) -> Value {
    match &node.kind {
        NodeKind::Null => Value::Null,
        NodeKind::Bool(value) => Value::Bool(*value),
        NodeKind::Number(number) => Value::Number(number.clone()),
        NodeKind::Text(text) => Value::String(text.clone()),
        NodeKind::List(elements) => Value::Array(elements.iter().map(plain).collect()),
        NodeKind::Map(entries) => entries
            .iter()
            .map(|entry| (entry.key.clone(), plain(&entry.value)))
            .collect(),
    }
}

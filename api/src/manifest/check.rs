//! A document against a schema: everything that the API server would refuse, with its place.
//!
//! Owns: unknown and missing fields, types, ranges, lengths, forms, duplicates in lists, and the schema's rules.
//! Leaves to others: the forms of rules (`rule`), what only the graph shows (`meaning`). Invariants: all faults are
//! found, not only the first; a document without faults, as JSON, is one that the API server takes.

use std::collections::HashMap;

use serde_json::{Map, Number, Value};
use waterspout_core::component::duration;

use super::diagnostic::{Diagnostic, Source, Span};
use super::rule::{self, Rule};
use super::suggest;
use super::yaml::{Entry, Node, NodeKind};

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
        let span = if matches!(node.kind, NodeKind::Null) {
            at.span
        } else {
            node.span
        };
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
            // As on the API server: nothing is the default, where there is one.
            if matches!(entry.value.kind, NodeKind::Null) && schema.get("default").is_some() {
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
        for required in schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let required = required.as_str().unwrap_or("");
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
        for rule in rules(schema) {
            if let Some(Rule::Set { fields, exactly }) = Rule::parse(rule) {
                self.set_rule(&fields, exactly, unknown, node, at);
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
    fn set_rule(&mut self, fields: &[&str], exactly: bool, unknown: bool, node: &Node, at: &At<'_>) {
        let set = rule::set_fields(fields, node);
        let names = suggest::list(fields.iter().copied());
        if let [_, others @ ..] = set.as_slice()
            && !others.is_empty()
        {
            let how_many = if exactly { "exactly one" } else { "at most one" };
            let message = format!("{} sets {}", at.name, suggest::list(set.iter().copied()));
            let second = node.entry(others[0]).map_or(at.span, |entry| entry.key_span);
            self.fault(second, message, Some(format!("{how_many} of {names} may be set")));
        } else if exactly && set.is_empty() && !unknown {
            let message = format!("{} sets none of {names}", at.name);
            self.fault(
                at.span,
                message,
                Some("exactly one of them must be set".to_owned()),
            );
        }
    }

    fn list(&mut self, schema: &Value, elements: &[Node], at: &At<'_>) -> Value {
        let count = elements.len() as u64;
        if let Some(least) = limit(schema, "minItems").filter(|least| count < *least) {
            let message = format!("{} has {count} elements, but must have at least {least}", at.name);
            self.fault(at.span, message, None);
        }
        if let Some(most) = limit(schema, "maxItems").filter(|most| count > *most) {
            let message = format!("{} has {count} elements, but may have at most {most}", at.name);
            self.fault(at.span, message, None);
        }
        let items = schema.get("items").unwrap_or(&Value::Null);
        let list = elements
            .iter()
            .enumerate()
            .map(|(index, element)| {
                let name = element_name(at.name, index, element);
                self.node(
                    items,
                    element,
                    &At {
                        name: &name,
                        span: element.span,
                    },
                )
            })
            .collect();
        match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
            Some("set") => self.unique(
                elements,
                |element| Some((element.text()?.to_owned(), element.span)),
                at,
            ),
            Some("map") => {
                let keys: Vec<&str> = schema
                    .get("x-kubernetes-list-map-keys")
                    .and_then(Value::as_array)
                    .map(|keys| keys.iter().filter_map(Value::as_str).collect())
                    .unwrap_or_default();
                self.unique(elements, |element| map_key(&keys, items, element), at);
            }
            _ => {}
        }
        Value::Array(list)
    }

    /// No two elements have the same key.
    fn unique(&mut self, elements: &[Node], key: impl Fn(&Node) -> Option<(String, Span)>, at: &At<'_>) {
        let mut seen: HashMap<String, usize> = HashMap::new();
        for (key, span) in elements.iter().filter_map(key) {
            match seen.get(&key) {
                Some(line) => {
                    let help = format!("it is already on line {line}");
                    self.fault(span, format!("{} has `{key}` twice", at.name), Some(help));
                }
                None => {
                    seen.insert(key, span.line);
                }
            }
        }
    }

    fn text(&mut self, schema: &Value, node: &Node, text: &str, at: &At<'_>) -> Value {
        let length = text.chars().count() as u64;
        let before = self.faults.len();
        if let Some(values) = schema.get("enum").and_then(Value::as_array) {
            let names = || values.iter().filter_map(Value::as_str);
            if !names().any(|name| name == text) {
                let help = match suggest::nearest(text, names()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("it is one of {}", suggest::list(names())),
                };
                self.fault(
                    node.span,
                    format!("{} cannot be `{}`", at.name, short(text)),
                    Some(help),
                );
            }
        }
        if limit(schema, "minLength").is_some_and(|least| length < least) {
            self.fault(node.span, format!("{} is empty", at.name), None);
        }
        if let Some(most) = limit(schema, "maxLength").filter(|most| length > *most) {
            let message = format!("{} has {length} characters, but may have at most {most}", at.name);
            self.fault(node.span, message, None);
        }
        let form = schema.get("pattern").and_then(Value::as_str).and_then(rule::form);
        if let Some(form) = form.filter(|form| !(form.holds)(text)) {
            let message = format!("{} cannot be `{}`", at.name, short(text));
            self.fault(node.span, message, Some(form.expected.to_owned()));
        }
        if self.faults.len() == before {
            self.text_rules(schema, node, text, at);
        }
        Value::String(text.to_owned())
    }

    fn text_rules(&mut self, schema: &Value, node: &Node, text: &str, at: &At<'_>) {
        for rule in rules(schema) {
            if let (Some(Rule::Duration { least, most }), Ok(given)) =
                (Rule::parse(rule), duration::parse(text))
                && !(least..=most).contains(&given)
            {
                let range = format!("from {} to {}", duration::format(least), duration::format(most));
                self.fault(
                    node.span,
                    format!("{} must be {range}, but is {text}", at.name),
                    None,
                );
            }
        }
    }

    fn integer(&mut self, schema: &Value, node: &Node, number: &Number, at: &At<'_>) -> Value {
        let least = schema.get("minimum").and_then(Value::as_i64);
        let most = schema.get("maximum").and_then(Value::as_i64);
        if !number.is_i64() && !number.is_u64() && number.as_f64().is_some_and(|value| value.fract() != 0.0) {
            self.fault(
                node.span,
                format!("{} must be a whole number, but is {number}", at.name),
                None,
            );
        } else if let Some(least) = least.filter(|least| below(number, *least)) {
            self.fault(
                node.span,
                format!("{} must be at least {least}, but is {number}", at.name),
                None,
            );
        } else if let Some(most) = most.filter(|most| above(number, *most)) {
            self.fault(
                node.span,
                format!("{} must be at most {most}, but is {number}", at.name),
                None,
            );
        }
        Value::Number(number.clone())
    }
}

/// Whether a number is less than a limit. One that is no `i64` is huge, or hugely negative.
fn below(number: &Number, limit: i64) -> bool {
    number.as_i64().map_or_else(
        || number.as_f64().is_some_and(|value| value < 0.0),
        |value| value < limit,
    )
}

fn above(number: &Number, limit: i64) -> bool {
    number.as_i64().map_or_else(
        || number.as_f64().is_some_and(|value| value > 0.0),
        |value| value > limit,
    )
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

/// The key of an element of a list that is a map by some fields, and where to point.
fn map_key(keys: &[&str], schema: &Value, element: &Node) -> Option<(String, Span)> {
    let mut parts = Vec::new();
    let mut span = None;
    for key in keys {
        let given = element
            .get(key)
            .filter(|node| !matches!(node.kind, NodeKind::Null));
        let default = || schema.get("properties")?.get(key)?.get("default")?.as_str();
        parts.push(match given {
            Some(node) => node.text()?,
            None => default()?,
        });
        span = span.or(given.map(|node| node.span));
    }
    Some((parts.join("."), span.unwrap_or(element.span)))
}

/// How to call an element: by its own name if it has one.
fn element_name(list: &str, index: usize, element: &Node) -> String {
    let list = list.trim_matches('`');
    let singular = list.strip_suffix('s').unwrap_or(list);
    match element
        .get("name")
        .or_else(|| element.get("from"))
        .and_then(Node::text)
    {
        Some(name) => format!("{singular} `{}`", short(name)),
        None => format!("`{list}[{index}]`"),
    }
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

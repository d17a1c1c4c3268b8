//! Lists against their schema: how many elements, which of them twice.

use std::collections::HashMap;

use serde_json::Value;

use super::super::diagnostic::Span;
use super::super::node::Node;
use super::{At, Checker, limit, short};

impl Checker<'_> {
    pub(super) fn list(&mut self, schema: &Value, elements: &[Node], at: &At<'_>) -> Value {
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
}

/// The key of an element of a list that is a map by some fields, and where to point.
fn map_key(keys: &[&str], schema: &Value, element: &Node) -> Option<(String, Span)> {
    let mut parts = Vec::new();
    let mut span = None;
    for key in keys {
        let given = element.get(key).filter(|node| !node.is_null());
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

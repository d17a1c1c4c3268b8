//! A field of the schema in words.
//!
//! Owns: how types, ranges and defaults are called, for people. Leaves to others: where it is shown.

use serde_json::{Map, Value};
use waterspout_core::component::duration;

/// A field, or any part of the schema.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field<'a> {
    /// Its key.
    pub(super) name: &'a str,
    /// Whether it must be set.
    pub(super) required: bool,
    schema: &'a Value,
}

impl<'a> Field<'a> {
    /// The whole object.
    pub(super) fn root(schema: &'a Value) -> Self {
        Self {
            name: "topology",
            required: true,
            schema,
        }
    }

    /// The object that has the fields: a list's element, if this is a list of objects.
    fn object(&self) -> &'a Value {
        self.schema.get("items").unwrap_or(self.schema)
    }

    /// The fields in it, those that must be set first.
    pub(super) fn fields(&self) -> Vec<Field<'a>> {
        let required = |name: &str| {
            let names = self.object().get("required").and_then(Value::as_array);
            names.is_some_and(|names| names.iter().any(|known| known == name))
        };
        let properties = self.object().get("properties").and_then(Value::as_object);
        let mut fields: Vec<Field<'a>> = properties
            .into_iter()
            .flat_map(Map::iter)
            .map(|(name, schema)| Field {
                name,
                required: required(name),
                schema,
            })
            .collect();
        fields.sort_by_key(|field| !field.required);
        fields
    }

    pub(super) fn field(&self, name: &str) -> Option<Field<'a>> {
        self.fields().into_iter().find(|field| field.name == name)
    }

    pub(super) fn is_list(&self) -> bool {
        self.schema.get("items").is_some()
    }

    /// Its text, in one line.
    pub(super) fn text(&self) -> String {
        text(self.schema)
    }

    /// The text of a list's element.
    pub(super) fn element_text(&self) -> String {
        text(self.object())
    }

    /// What the rules on it say.
    pub(super) fn rules(&self) -> Vec<&'a str> {
        let rules = self
            .object()
            .get("x-kubernetes-validations")
            .and_then(Value::as_array);
        rules
            .into_iter()
            .flatten()
            .filter_map(|rule| rule.get("message")?.as_str())
            .collect()
    }

    /// Its type in words, with its range.
    pub(super) fn kind(&self) -> String {
        if let Some(items) = self.schema.get("items") {
            let element = Field {
                name: self.name,
                required: false,
                schema: items,
            };
            let plural = match element.kind().as_str() {
                "map" => "maps".to_owned(),
                "text" => "texts".to_owned(),
                other => other.to_owned(),
            };
            return format!(
                "list of {plural}{}",
                self.range("minItems", "maxItems", " elements")
            );
        }
        if let Some(values) = self.schema.get("enum").and_then(Value::as_array) {
            let names: Vec<String> = values.iter().map(shown).collect();
            return format!("one of {}", names.join(", "));
        }
        match self.schema.get("type").and_then(Value::as_str) {
            Some("object") if self.schema["additionalProperties"].is_object() => "map of texts".to_owned(),
            Some("object") if self.fields().is_empty() => "`{}`".to_owned(),
            Some("object") => "map".to_owned(),
            Some("string") if self.pattern() == Some(duration::PATTERN) => "duration".to_owned(),
            Some("string") => "text".to_owned(),
            Some("integer") => format!("whole number{}", self.range("minimum", "maximum", "")),
            Some("boolean") => "`true` or `false`".to_owned(),
            _ => "any".to_owned(),
        }
    }

    fn pattern(&self) -> Option<&'a str> {
        self.schema.get("pattern").and_then(Value::as_str)
    }

    fn range(&self, least: &str, most: &str, what: &str) -> String {
        let limit = |key: &str| self.schema.get(key).and_then(Value::as_i64);
        match (limit(least), limit(most)) {
            (Some(least), Some(most)) => format!(", {least} to {most}{what}"),
            (None, Some(most)) => format!(", at most {most}{what}"),
            (Some(least), None) => format!(", at least {least}{what}"),
            (None, None) => String::new(),
        }
    }

    /// Its default, or that it must be set; nothing if it may be absent.
    pub(super) fn default(&self) -> String {
        match self.schema.get("default") {
            _ if self.required => "required".to_owned(),
            Some(default) => shown(default),
            None => String::new(),
        }
    }
}

fn text(schema: &Value) -> String {
    schema
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or("")
        .replace('\n', " ")
}

/// A value as a manifest has it.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`{text}`"),
        Value::Object(map) => {
            let fields: Vec<String> = map
                .iter()
                .map(|(key, value)| format!("{key}: {}", shown(value).trim_matches('`')))
                .collect();
            format!("`{{{}}}`", fields.join(", "))
        }
        other => format!("`{other}`"),
    }
}

//! Texts and numbers against their schema: lengths, ranges, forms.

use serde_json::{Number, Value};
use waterspout_core::component::duration;

use super::super::node::Node;
use super::super::rule::{self, Rule};
use super::super::suggest;
use super::{At, Checker, limit, rules, short};

impl Checker<'_> {
    pub(super) fn text(&mut self, schema: &Value, node: &Node, text: &str, at: &At<'_>) -> Value {
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
            if Rule::parse(rule).is_some_and(|rule| rule.forbids(text)) {
                let message = format!("{} cannot be `{}`", at.name, short(text));
                self.fault(node.span, message, rule_text(schema, rule));
            }
        }
    }

    pub(super) fn integer(&mut self, schema: &Value, node: &Node, number: &Number, at: &At<'_>) -> Value {
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

/// What a rule of a schema says, where it is broken.
fn rule_text(schema: &Value, rule: &str) -> Option<String> {
    let mut rules = schema.get("x-kubernetes-validations")?.as_array()?.iter();
    let found = rules.find(|found| found["rule"] == rule)?;
    Some(format!("it {}", found["message"].as_str()?))
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

//! The rules of the schema that the API server evaluates as CEL, evaluated without CEL.
//!
//! Owns: the forms that a rule may have, and the forms that a text may have (patterns). Leaves to others: everything
//! else of the schema (`check`). Invariant: each rule and each pattern of the resource's schema is known here, which a
//! test checks; so what the API server refuses is refused here too.

use waterspout_core::component::{ADDRESS_PATTERN, duration, quantity, script::ENV_PATTERN};

use crate::resource::pods::{
    INNER_PATH_PATTERN, KEY_PATTERN, LABEL_PATTERN, LABEL_VALUE_PATTERN, OBJECT_PATTERN, PATH_PATTERN, amount,
};
use crate::resource::{FIELD_PATTERN, NAME_PATTERN};

/// The names of spouts and bolts are different: the graph checks that, and says it better.
const DISTINCT_NAMES: &str = "!self.bolts.exists(b, self.spouts.exists(s, s.name == b.name))";
/// The rules on the name of the topology: the schema of `metadata` in `document` says the same.
const ROOT_NAME: [&str; 2] = [
    "self.metadata.name.size() <= 40",
    "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
];

/// A rule of the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rule<'a> {
    /// So many of these fields are set.
    Set { fields: Vec<&'a str>, exactly: bool },
    /// A duration between two others, in milliseconds and as they are written.
    Duration { least: u64, most: u64 },
    /// A text that is none of these.
    NotIn(Vec<&'a str>),
    /// A text, or a path, that does not begin with one of these.
    NotBelow(Vec<&'a str>),
    /// Checked elsewhere.
    Elsewhere,
}

impl<'a> Rule<'a> {
    /// The rule that a CEL expression says, if it has one of the forms.
    pub(super) fn parse(expression: &'a str) -> Option<Self> {
        if expression == DISTINCT_NAMES || ROOT_NAME.contains(&expression) {
            return Some(Self::Elsewhere);
        }
        Self::parse_set(expression)
            .or_else(|| Self::parse_duration(expression))
            .or_else(|| Self::parse_texts(expression))
    }

    /// `!(self in ['a', 'b'])`, or `!['/a/', '/b/'].exists(start, (self + '/').startsWith(start))`.
    fn parse_texts(expression: &'a str) -> Option<Self> {
        let texts = |list: &'a str| -> Vec<&'a str> {
            let quoted = list.split(", ");
            quoted.map(|text| text.trim_matches('\'')).collect()
        };
        if let Some(list) = expression.strip_prefix("!(self in [") {
            return Some(Self::NotIn(texts(list.strip_suffix("])")?)));
        }
        let list = expression
            .strip_prefix("![")?
            .strip_suffix("].exists(start, (self + '/').startsWith(start))")?;
        Some(Self::NotBelow(texts(list)))
    }

    /// Whether a text is one that the rule forbids.
    pub(super) fn forbids(&self, text: &str) -> bool {
        match self {
            Self::NotIn(texts) => texts.contains(&text),
            Self::NotBelow(starts) => starts.iter().any(|start| format!("{text}/").starts_with(start)),
            Self::Set { .. } | Self::Duration { .. } | Self::Elsewhere => false,
        }
    }

    /// `(has(self.a) ? 1 : 0) + (has(self.b) ? 1 : 0) == 1`, or `<= 1`.
    fn parse_set(expression: &'a str) -> Option<Self> {
        let (sum, exactly) = match expression.strip_suffix(" == 1") {
            Some(sum) => (sum, true),
            None => (expression.strip_suffix(" <= 1")?, false),
        };
        let field = |term: &'a str| term.strip_prefix("(has(self.")?.strip_suffix(") ? 1 : 0)");
        let fields = sum.split(" + ").map(field).collect::<Option<Vec<_>>>()?;
        Some(Self::Set { fields, exactly })
    }

    /// `duration(self) >= duration('1s') && duration(self) <= duration('1h')`.
    fn parse_duration(expression: &'a str) -> Option<Self> {
        let (least, most) = expression.split_once(" && ")?;
        let least = least
            .strip_prefix("duration(self) >= duration('")?
            .strip_suffix("')")?;
        let most = most
            .strip_prefix("duration(self) <= duration('")?
            .strip_suffix("')")?;
        Some(Self::Duration {
            least: duration::parse(least).ok()?,
            most: duration::parse(most).ok()?,
        })
    }
}

/// The form of a text: what the schema says as a regular expression.
pub(super) struct Form {
    pattern: &'static str,
    /// Whether a text has it.
    pub(super) holds: fn(&str) -> bool,
    /// What is expected, in words.
    pub(super) expected: &'static str,
}

const FORMS: [Form; 13] = [
    Form {
        pattern: NAME_PATTERN,
        holds: is_label,
        expected: "a name has only a-z, 0-9 and `-`, a letter first and no `-` last",
    },
    Form {
        pattern: FIELD_PATTERN,
        holds: is_field,
        expected: "a field's name has letters, digits, `_`, `.` and `-`, and starts with a letter, or with one `_` and a letter",
    },
    Form {
        pattern: duration::PATTERN,
        holds: |text| duration::parse(text).is_ok(),
        expected: "a duration is a whole number with a unit, one or more times: `500ms`, `30s`, `1m30s`, `2h`",
    },
    Form {
        pattern: ADDRESS_PATTERN,
        holds: is_address,
        expected: "an address is `host:port`",
    },
    Form {
        pattern: quantity::PATTERN,
        holds: |text| quantity::parse(text).is_ok(),
        expected: "an amount of memory is a whole number with a unit: `65536Ki`, `512Mi`, `2Gi`",
    },
    Form {
        pattern: ENV_PATTERN,
        holds: is_variable,
        expected: "the name of an environment variable has letters, digits and `_`, and no digit first",
    },
    Form {
        pattern: amount::PATTERN,
        holds: |text| amount::parse(text).is_some(),
        expected: "an amount is a number, with a unit if it needs one: `500m`, `0.5`, `2`, `512Mi`, `2Gi`",
    },
    Form {
        pattern: OBJECT_PATTERN,
        holds: |text| {
            is_name(
                text,
                |byte| is_lower(byte) || byte == b'-' || byte == b'.',
                is_lower,
            )
        },
        expected: "the name of an object has only a-z, 0-9, `-` and `.`, and a letter or a digit first and last",
    },
    Form {
        pattern: LABEL_PATTERN,
        holds: |text| is_name(text, |byte| is_lower(byte) || byte == b'-', is_lower),
        expected: "the name of a volume has only a-z, 0-9 and `-`, and a letter or a digit first and last",
    },
    Form {
        pattern: KEY_PATTERN,
        holds: |text| !text.is_empty() && text.bytes().all(is_of_key),
        expected: "a key has only letters, digits, `-`, `_` and `.`",
    },
    Form {
        pattern: LABEL_VALUE_PATTERN,
        holds: |text| text.is_empty() || is_name(text, is_of_key, |byte| byte.is_ascii_alphanumeric()),
        expected: "it has only letters, digits, `-`, `_` and `.`, and a letter or a digit first and last",
    },
    Form {
        pattern: PATH_PATTERN,
        holds: |text| text.strip_prefix('/').is_some_and(is_inner_path),
        expected: "a path begins with `/`, has letters, digits, `_`, `.`, `@` and `-` in its parts, no `..`, and no `/` last",
    },
    Form {
        pattern: INNER_PATH_PATTERN,
        holds: is_inner_path,
        expected: "a path in a volume does not begin with `/`, and has letters, digits, `_`, `.`, `@` and `-` in its parts, and no `..`",
    },
];

/// The form that a regular expression of the schema says.
pub(super) fn form(pattern: &str) -> Option<&'static Form> {
    FORMS.iter().find(|form| form.pattern == pattern)
}

fn is_label(text: &str) -> bool {
    let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    let bytes = text.as_bytes();
    bytes.iter().all(inner)
        && bytes.first().is_some_and(u8::is_ascii_lowercase)
        && bytes.last() != Some(&b'-')
}

fn is_field(text: &str) -> bool {
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let bytes = text.strip_prefix('_').unwrap_or(text).as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphabetic) && bytes.iter().all(inner)
}

fn is_variable(text: &str) -> bool {
    let is_letter = |character: char| character == '_' || character.is_ascii_alphanumeric();
    text.chars().all(is_letter) && !text.is_empty() && !text.starts_with(|first: char| first.is_ascii_digit())
}

fn is_lower(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn is_of_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)
}

fn is_name(text: &str, inner: fn(u8) -> bool, end: fn(u8) -> bool) -> bool {
    let ends = [text.bytes().next(), text.bytes().last()];
    text.bytes().all(inner) && ends.into_iter().all(|byte| byte.is_some_and(end))
}

fn is_inner_path(text: &str) -> bool {
    text.split('/').all(|part| {
        let rest = part.strip_prefix('.').unwrap_or(part);
        let is_of_path = |byte: u8| is_of_key(byte) || byte == b'@';
        rest.bytes().all(is_of_path) && !rest.is_empty() && !rest.starts_with('.')
    })
}

fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        !host.is_empty() && !host.contains(' ') && digits && (1..=5).contains(&port.len())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::schema::object_schema;

    fn walk(schema: &Value, path: &str, visit: &mut impl FnMut(&str, &Value)) {
        visit(path, schema);
        if let Some(items) = schema.get("items") {
            walk(items, path, visit);
        }
        for (name, property) in schema
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            walk(property, &format!("{path}.{name}"), visit);
        }
    }

    #[test]
    fn every_rule_and_pattern_of_the_schema_is_known() {
        let schema = object_schema().expect("the schema is fixed");
        walk(&schema, "", &mut |path, schema| {
            for rule in schema
                .get("x-kubernetes-validations")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                let text = rule["rule"].as_str().expect("a rule is a text");
                let rule = Rule::parse(text).unwrap_or_else(|| panic!("unknown rule at {path}: {text}"));
                if let Rule::Set { fields, .. } = rule {
                    for field in fields {
                        assert!(schema["properties"].get(field).is_some(), "{path} has no {field}");
                    }
                }
            }
            let values = schema.pointer("/additionalProperties/pattern");
            for pattern in schema
                .get("pattern")
                .into_iter()
                .chain(values)
                .filter_map(Value::as_str)
            {
                assert!(form(pattern).is_some(), "unknown pattern at {path}: {pattern}");
            }
        });
    }

    #[test]
    fn the_rules_on_the_topology_name_say_what_is_enforced_here() {
        assert_eq!(
            ROOT_NAME[0],
            format!("self.metadata.name.size() <= {}", crate::resource::MAX_NAME)
        );
        assert_eq!(
            ROOT_NAME[1],
            format!("self.metadata.name.matches('{NAME_PATTERN}')")
        );
    }

    #[test]
    fn every_kind_and_grouping_is_in_its_rule() {
        let schema = object_schema().expect("the schema is fixed");
        walk(&schema, "", &mut |path, schema| {
            let Some(rule) = schema
                .pointer("/x-kubernetes-validations/0/rule")
                .and_then(Value::as_str)
            else {
                return;
            };
            if let Some(Rule::Set { fields, .. }) = Rule::parse(rule) {
                let text = |name: &str| {
                    schema["properties"][name]["description"]
                        .as_str()
                        .unwrap_or("")
                        .to_owned()
                };
                for name in schema["properties"].as_object().expect("has properties").keys() {
                    let marked = text(name).starts_with("Kind:") || text(name).starts_with("Grouping:");
                    assert!(
                        !marked || fields.contains(&name.as_str()),
                        "{path}.{name} is not in the rule"
                    );
                }
            }
        });
    }

    #[test]
    fn forms_are_what_their_patterns_say() {
        assert!(
            is_label("a")
                && is_label("word-2")
                && !is_label("2a")
                && !is_label("-a")
                && !is_label("a-")
                && !is_label("A")
        );
        assert!(!is_label("") && !is_label("a_b") && !is_label("ä"));
        assert!(
            is_field("_a.b-C9")
                && !is_field("9a")
                && !is_field("__a")
                && !is_field("_")
                && !is_field("")
                && !is_field("a b")
        );
        assert!(is_inner_path("a/.b/c..d") && is_inner_path("a"));
        for wrong in [
            "", "/", "/a", "a/", "a//b", "..", "a/../b", "a/..b", "./a", "a/.", "a b", "a:b",
        ] {
            assert!(!is_inner_path(wrong), "{wrong}");
        }
        assert!(is_address("localhost:6379") && is_address("[::1]:1") && !is_address("localhost"));
        assert!(!is_address(":1") && !is_address("a:") && !is_address("a:123456") && !is_address("a:b"));
    }
}

//! What a field of the resource is, on a terminal.

use std::fmt::Write;

use super::field::Field;
use super::{GenerateError, object_schema, wrap};
use crate::manifest::suggest;

/// How wide the text is.
const WIDTH: usize = 100;

/// Why a path is not explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// No field has this path.
    #[error("`{parent}` has no field `{name}`; {}", did_you_mean(near, known))]
    UnknownField {
        /// How far the path leads.
        parent: String,
        /// What is not there.
        name: String,
        /// The name that was probably meant.
        near: Option<String>,
        /// All names that are there.
        known: Vec<String>,
    },
    /// The schema cannot be made.
    #[error(transparent)]
    Generate(#[from] GenerateError),
}

fn did_you_mean(near: &Option<String>, known: &[String]) -> String {
    match near {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "it has no fields".to_owned(),
        None => format!(
            "its fields are {}",
            suggest::list(known.iter().map(String::as_str))
        ),
    }
}

/// What the field at a path is: its type, default and text, and the fields in it.
///
/// The path is as in `spec.spouts.file`; `topology.` and `spec.` may be left out, and `spout` is `spouts`. The empty
/// path is `spec`.
///
/// # Errors
///
/// Those of [`ExplainError`].
pub fn explain(path: &str) -> Result<String, ExplainError> {
    let schema = object_schema()?;
    let root = Field::root(&schema);
    let mut steps: Vec<&str> = path
        .split('.')
        .map(|step| step.split('[').next().unwrap_or("").trim())
        .filter(|step| !step.is_empty())
        .collect();
    if steps
        .first()
        .is_some_and(|first| first.eq_ignore_ascii_case("topology"))
    {
        steps.remove(0);
    }
    if steps.first().is_none_or(|first| root.field(first).is_none()) {
        steps.insert(0, "spec");
    }
    let mut field = root;
    let mut path = String::new();
    for step in steps {
        let plural = format!("{step}s");
        let Some(next) = field
            .field(step)
            .or_else(|| field.field(&plural).filter(Field::is_list))
        else {
            let fields = field.fields();
            let names = || fields.iter().map(|field| field.name);
            return Err(ExplainError::UnknownField {
                parent: path,
                name: step.to_owned(),
                near: suggest::nearest(step, names()).map(str::to_owned),
                known: names().map(str::to_owned).collect(),
            });
        };
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(next.name);
        if next.is_list() && !next.fields().is_empty() {
            path.push_str("[]");
        }
        field = next;
    }
    Ok(page(&path, field))
}

fn page(path: &str, field: Field<'_>) -> String {
    let mut page = format!("{path}: {}\n", header(field));
    // Writing to a text does not fail.
    let _ = writeln!(page, "\n{}", wrap(&field.text(), WIDTH, "  "));
    if field.is_list() && !field.fields().is_empty() {
        let _ = writeln!(page, "\n{}", wrap(&field.element_text(), WIDTH, "  "));
    }
    for rule in field.rules() {
        let _ = writeln!(page, "\n{}", wrap(&format!("Rule: {rule}."), WIDTH, "  "));
    }
    for inner in field.fields() {
        let _ = writeln!(
            page,
            "\n{}: {}\n{}",
            inner.name,
            header(inner),
            wrap(&inner.text(), WIDTH, "  ")
        );
    }
    page
}

fn header(field: Field<'_>) -> String {
    let kind = field.kind();
    match field.default() {
        default if default.is_empty() => kind,
        default if field.required => format!("{kind}, {default}"),
        default => format!("{kind}, default {default}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_explained_by_its_short_path() {
        let text = explain("spouts.file").expect("it is there");
        assert!(text.starts_with("spec.spouts[].file: map\n"), "{text}");
        assert!(text.contains("\npath: text, required\n"), "{text}");
        assert!(
            text.contains("\nfollow: `true` or `false`, default `false`\n"),
            "{text}"
        );
    }

    #[test]
    fn all_ways_to_write_a_path_lead_to_the_same_text() {
        let text = explain("spec.bolts.count").expect("it is there");
        for path in [
            "bolts.count",
            "bolt.count",
            "topology.spec.bolts[].count",
            "bolts[2].count",
            ".bolts.count.",
        ] {
            assert_eq!(explain(path).expect("it is there"), text, "{path}");
        }
        assert!(explain("").expect("the specification").starts_with("spec: map"));
        assert!(
            explain("status.state")
                .expect("it is there")
                .starts_with("status.state: one of")
        );
    }

    #[test]
    fn a_wrong_path_says_what_is_there() {
        let error = explain("spouts.fil").expect_err("it is not there").to_string();
        assert_eq!(error, "`spec.spouts[]` has no field `fil`; did you mean `file`?");
        let error = explain("bolts.kafka").expect_err("it is not there").to_string();
        assert!(
            error.contains("its fields are `inputs`, `name`, `command`, `count`"),
            "{error}"
        );
        let error = explain("bolts.split.field.x")
            .expect_err("it is not there")
            .to_string();
        assert!(error.ends_with("it has no fields"), "{error}");
    }
}

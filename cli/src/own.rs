//! Settings of the program's own components and groupings, checked before anything starts.
//!
//! Owns: names that the program does not have, settings against their schema, and the words for what is wrong. Leaves to
//! others: the schemas (the program), places in the text ([`waterspout_api::manifest`]). Invariant: a program without
//! components of its own, such as the stock one, says nothing about them, for they are another program's.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use jsonschema::paths::LocationSegment;
use serde_json::{Map, Value, json};
use waterspout_api::manifest::{OwnFault, Step, nearest};
use waterspout_api::resource::Topology;
use waterspout_core::component::rust::RustConfig;
use waterspout_core::graph::Role;
use waterspout_worker::component::Components;
use waterspout_worker::component::own::Settings;

/// What is wrong with the own components and groupings of a topology.
pub(crate) fn faults(topology: &Topology, components: &Components) -> Vec<OwnFault> {
    if components.is_empty() {
        return Vec::new();
    }
    let spec = &topology.spec;
    let mut faults = Vec::new();
    for (index, spout) in spec.spouts.iter().enumerate() {
        let path = vec!["spouts".into(), index.into()];
        component(components, Role::Spout, spout.rust.as_ref(), path, &mut faults);
    }
    for (index, bolt) in spec.bolts.iter().enumerate() {
        let path = vec![Step::from("bolts"), index.into()];
        component(
            components,
            Role::Bolt,
            bolt.rust.as_ref(),
            path.clone(),
            &mut faults,
        );
        for (number, input) in bolt.inputs.iter().enumerate() {
            let Some(custom) = &input.custom else { continue };
            let path = with(&path, ["inputs".into(), number.into(), "custom".into()]);
            match components.grouping_settings(&custom.grouping) {
                Some(settings) => check(settings, &custom.grouping, &custom.config, path, &mut faults),
                None => faults.push(unknown(
                    "grouping",
                    &custom.grouping,
                    components.grouping_names().collect(),
                    with(&path, ["grouping".into()]),
                )),
            }
        }
    }
    faults
}

fn component(
    components: &Components,
    role: Role,
    rust: Option<&RustConfig>,
    path: Vec<Step>,
    faults: &mut Vec<OwnFault>,
) {
    let Some(rust) = rust else { return };
    let path = with(&path, ["rust".into()]);
    match components.settings(role, &rust.component) {
        Some(settings) => check(settings, &rust.component, &rust.config, path, faults),
        None => {
            let what = if role == Role::Spout { "spout" } else { "bolt" };
            let names = components.names(role).collect();
            faults.push(unknown(
                what,
                &rust.component,
                names,
                with(&path, ["component".into()]),
            ));
        }
    }
}

fn with<const N: usize>(path: &[Step], steps: [Step; N]) -> Vec<Step> {
    path.iter().cloned().chain(steps).collect()
}

fn unknown(what: &str, name: &str, known: Vec<&str>, path: Vec<Step>) -> OwnFault {
    let help = match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => format!("it has no {what} of its own; register it in the program"),
        None => format!("its {what}s are {}", list(&known)),
    };
    OwnFault {
        path,
        is_key: false,
        message: format!("this program has no {what} `{name}`"),
        help: Some(help),
    }
}

/// Settings against their schema, and then against their type. `path` leads to the map that has `config`.
fn check(
    settings: &Settings,
    name: &str,
    config: &Map<String, Value>,
    path: Vec<Step>,
    faults: &mut Vec<OwnFault>,
) {
    let config = Value::Object(config.clone());
    let path = with(&path, ["config".into()]);
    let mut wrong = |message: String| {
        faults.push(OwnFault {
            path: path.clone(),
            is_key: false,
            message,
            help: None,
        });
    };
    // A schema that is none is the component's own fault, and its type still speaks.
    let Ok(validator) = jsonschema::validator_for(&settings.schema) else {
        if let Err(problem) = settings.check(&config) {
            wrong(format!("the settings of `{name}` are wrong: {problem}"));
        }
        return;
    };
    // No settings may stand for a type that is nothing.
    let is_nothing = config == json!({}) && validator.is_valid(&Value::Null);
    if !is_nothing && settings.schema.get("type") == Some(&json!("null")) {
        return wrong(format!("`{name}` has no settings; leave `config` out"));
    }
    let mut found = Vec::new();
    if !is_nothing {
        for error in validator.iter_errors(&config) {
            explain(&settings.schema, name, &path, &error, &mut found);
        }
    }
    if found.is_empty()
        && let Err(problem) = settings.check(&config)
    {
        wrong(format!("the settings of `{name}` are wrong: {problem}"));
    }
    faults.extend(found);
}

/// An error of the schema as faults.
fn explain(
    schema: &Value,
    name: &str,
    base: &[Step],
    error: &ValidationError<'_>,
    faults: &mut Vec<OwnFault>,
) {
    let steps = error.instance_path().segments().map(|segment| match segment {
        LocationSegment::Property(key) => Step::Key(key.into_owned()),
        LocationSegment::Index(index) => Step::Index(index),
    });
    let path: Vec<Step> = base.iter().cloned().chain(steps).collect();
    let what = match path.last() {
        Some(Step::Key(key)) if path.len() > base.len() => format!("`{key}`"),
        Some(Step::Index(_)) => "an element".to_owned(),
        _ => format!("`{name}`"),
    };
    let mut fault = |path: Vec<Step>, is_key, message, help| {
        faults.push(OwnFault {
            path,
            is_key,
            message,
            help,
        });
    };
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            let known = known(schema, error);
            for key in unexpected {
                let help = match nearest(key, known.iter().map(String::as_str)) {
                    Some(near) => Some(format!("did you mean `{near}`?")),
                    None if known.is_empty() => None,
                    None => Some(format!("its fields are {}", list(&known))),
                };
                let path = with(&path, [Step::Key(key.clone())]);
                fault(path, true, format!("{what} has no field `{key}`"), help);
            }
        }
        ValidationErrorKind::Required { property } => {
            let property = property.as_str().unwrap_or_default();
            let text = error.instance().as_object();
            let known = known(schema, error);
            // A field that is not known is often the one that is missing, misspelt.
            let misspelt = text.is_some_and(|given| {
                given
                    .keys()
                    .any(|key| !known.contains(key) && nearest(key, [property]).is_some())
            });
            if !misspelt {
                fault(path, false, format!("{what} has no `{property}`"), None);
            }
        }
        ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => {
            // Of an optional value, what is not "nothing" is meant; of several forms, the one that goes furthest.
            let branch = context
                .iter()
                .filter(|branch| !branch.is_empty())
                .max_by_key(|branch| branch.iter().map(depth).max());
            match branch.filter(|branch| branch.iter().any(|inner| depth(inner) > depth(error))) {
                Some(branch) => branch
                    .iter()
                    .for_each(|inner| explain(schema, name, base, inner, faults)),
                None => fault(path, false, format!("{what} is wrong: {error}"), None),
            }
        }
        _ => fault(path, false, format!("{what} is wrong: {error}"), None),
    }
}

fn depth(error: &ValidationError<'_>) -> usize {
    let extra = matches!(error.kind(), ValidationErrorKind::AdditionalProperties { .. });
    error.instance_path().segments().count() + usize::from(extra)
}

/// The names of the fields that the schema of the object at hand knows.
fn known(schema: &Value, error: &ValidationError<'_>) -> Vec<String> {
    let place = error
        .schema_path()
        .as_str()
        .rsplit_once('/')
        .map(|(place, _)| place);
    let place = place.unwrap_or_default();
    // A reference in the path: what follows stands in the definition that it leads to.
    let mut at = schema;
    for step in place.split('/').filter(|step| !step.is_empty()) {
        let step = step.replace("~1", "/").replace("~0", "~");
        let next = match (&at, step.parse::<usize>()) {
            (Value::Array(list), Ok(index)) => list.get(index),
            _ => at.get(&step),
        };
        let Some(next) = next else { return Vec::new() };
        at = match next.as_str().and_then(|reference| reference.strip_prefix('#')) {
            Some(pointer) if step == "$ref" => schema.pointer(pointer).unwrap_or(next),
            _ => next,
        };
    }
    let properties = at.get("properties").and_then(Value::as_object);
    properties
        .map(|known| known.keys().cloned().collect())
        .unwrap_or_default()
}

fn list(names: &[impl AsRef<str>]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{}`", name.as_ref())).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

    use std::path::Path;

    use schemars::JsonSchema;
    use serde::Deserialize;
    use waterspout_worker::component::{Bolt, ComponentError, Emit, Tuple};

    use super::*;
    use crate::validate;

    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only checked")]
    struct Config {
        at_least: u8,
        #[serde(default)]
        style: Option<Style>,
        #[serde(default)]
        words: Vec<String>,
    }

    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only checked")]
    struct Style {
        marks: u32,
    }

    struct Nothing;

    impl Bolt for Nothing {
        fn execute(&mut self, _tuple: Tuple<'_>, _out: &mut impl Emit) -> Result<(), ComponentError> {
            Ok(())
        }
    }

    struct First;

    impl waterspout_core::routing::Choose for First {
        fn choose(&mut self, _row: waterspout_core::value::Row<'_>, chosen: &mut Vec<u32>) {
            chosen.push(0);
        }
    }

    fn components() -> Components {
        let mut components = Components::default();
        components.bolt("shout", |_: Config, _| Ok(Nothing));
        components.bolt("plain", |(): (), _| Ok(Nothing));
        components.grouping("first", |(): (), _| Ok(First));
        components
    }

    /// What is said of a bolt whose last lines are these.
    fn said(bolt: &str, components: &Components) -> Result<(), String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t.yaml");
        let head = "apiVersion: waterspout.dev/v1alpha1\nkind: Topology\nmetadata: {name: t}\nspec:\n  spouts:\n  - name: in\n    generator: {count: 1, shape: {sequence: {}}}\n    streams: [{fields: [number]}]\n  bolts:\n  - name: b\n";
        std::fs::write(&path, format!("{head}{bolt}\n")).unwrap();
        let read = validate::read(Path::new(&path), components);
        read.map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_right_is_taken() {
        for bolt in [
            "    inputs: [{from: in}]\n    rust: {component: shout, config: {at_least: 3, style: {marks: 1}, words: [a]}}",
            "    inputs: [{from: in, custom: {grouping: first}}]\n    rust: {component: plain}",
        ] {
            said(bolt, &components()).unwrap();
        }
        said(
            "    inputs: [{from: in}]\n    rust: {component: others}",
            &Components::default(),
        )
        .unwrap();
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place_and_what_to_do() {
        let cases = [
            (
                "{component: shuot}",
                "no bolt `shuot`",
                "12:23",
                "did you mean `shout`?",
            ),
            (
                "{component: other}",
                "no bolt `other`",
                "12:23",
                "its bolts are `plain`, `shout`",
            ),
            (
                "{component: shout, config: {atLeast: 3}}",
                "`shout` has no field `atLeast`",
                "12:39",
                "did you mean `at_least`?",
            ),
            (
                "{component: shout, config: {}}",
                "`shout` has no `at_least`",
                "12:30",
                "",
            ),
            ("{component: shout}", "`shout` has no `at_least`", "12:5", ""),
            (
                "{component: shout, config: {at_least: many}}",
                "`at_least` is wrong",
                "12:49",
                "",
            ),
            (
                "{component: shout, config: {at_least: 300}}",
                "`at_least` is wrong",
                "12:49",
                "",
            ),
            (
                "{component: shout, config: {at_least: 3, words: [a, 7]}}",
                "an element is wrong",
                "12:63",
                "",
            ),
            (
                "{component: shout, config: {at_least: 3, style: {mark: 7}}}",
                "`style` has no field `mark`",
                "12:60",
                "did you mean `marks`?",
            ),
            (
                "{component: plain, config: {a: 1}}",
                "`plain` has no settings",
                "12:30",
                "",
            ),
        ];
        for (rust, message, place, help) in cases {
            let bolt = format!("    inputs: [{{from: in}}]\n    rust: {rust}");
            let error = said(&bolt, &components()).unwrap_err();
            assert!(error.contains(message), "{rust}: {error}");
            assert!(error.contains(&format!("t.yaml:{place}\n")), "{rust}: {error}");
            assert!(error.contains(help), "{rust}: {error}");
        }
        let bolt = "    inputs: [{from: in, custom: {grouping: frist}}]\n    rust: {component: plain}";
        let error = said(bolt, &components()).unwrap_err();
        assert!(
            error.contains("no grouping `frist`") && error.contains("t.yaml:11:44\n"),
            "{error}"
        );
    }
}

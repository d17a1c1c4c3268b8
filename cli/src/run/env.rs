//! The environment that a manifest gives the workers, in a local run.
//!
//! Owns: which variables scripts and commands get here. Leaves to others: what may be said (`waterspout_api`), pods.
//! Invariant: a variable of a component goes before one of the same name of all workers, as in a pod.

use serde_json::{Value, json};
use waterspout_api::resource::pods::EnvSpec;
use waterspout_core::component::script::{COMMAND, KIND};
use waterspout_core::graph::GraphSpec;

/// Gives the variables that have a value to all scripts and commands. The others come from the environment of this program,
/// as all that it has.
pub(super) fn put(graph: &mut GraphSpec, env: &[EnvSpec]) {
    let here = |variable: &&EnvSpec| variable.value_from.is_none();
    let is_program = |kind: &str| kind == KIND || kind == COMMAND;
    for component in &mut graph.components {
        if !is_program(&component.kind) || !env.iter().any(|variable| here(&variable)) {
            continue;
        }
        let own = component.config["env"].as_array().cloned().unwrap_or_default();
        let is_own = |name: &str| own.iter().any(|own| own["name"] == name);
        let all = env.iter().filter(here).filter(|variable| !is_own(&variable.name));
        let mut both: Vec<Value> = all
            .map(|variable| json!({"name": variable.name, "value": variable.value.as_deref().unwrap_or_default()}))
            .collect();
        both.extend(own.iter().cloned());
        component.config["env"] = both.into();
    }
}

/// What to say of the variables that a pod would get from elsewhere.
pub(super) fn note(env: &[EnvSpec], is_here: impl Fn(&str) -> bool) -> Option<String> {
    let elsewhere = env.iter().filter(|variable| variable.value_from.is_some());
    let missing: Vec<String> = elsewhere
        .filter(|variable| !is_here(&variable.name))
        .map(|variable| format!("'{}'", variable.name))
        .collect();
    (!missing.is_empty()).then(|| {
        format!(
            "{} comes from the cluster in pods; set it in the environment of this command to have it here",
            missing.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use waterspout_api::Manifest;

    use super::*;

    #[test]
    fn scripts_get_the_variables_that_have_a_value_but_for_those_of_their_own() {
        let manifest = Manifest::parse(
            "env.yaml",
            "
apiVersion: waterspout.dev/v1alpha1
kind: Topology
metadata: {name: env}
spec:
  workers:
    template:
      env:
      - {name: A, value: one}
      - {name: B, value: two}
      - {name: C}
      - {name: SECRET, valueFrom: {secretKeyRef: {name: s, key: k}}}
  spouts: [{name: in, generator: {shape: {sequence: {}}}, streams: [{fields: [number]}]}]
  bolts:
  - {name: bolt, inputs: [{from: in}], command: {argv: [cat], env: [{name: B, value: own}]}}
  - {name: out, inputs: [{from: in}], stdout: {}}
",
        )
        .expect("it is right");
        let env = &manifest.topology().spec.workers.template.env;
        let mut graph = manifest.graph_spec().clone();
        put(&mut graph, env);
        let of = |at: usize| &graph.components[at].config["env"];
        let expected = json!([
            {"name": "A", "value": "one"}, {"name": "C", "value": ""}, {"name": "B", "value": "own"},
        ]);
        assert_eq!(*of(1), expected);
        assert!(of(0).is_null() && of(2).is_null());
        let said = note(env, |_| false).expect("one is missing");
        assert!(said.starts_with("'SECRET' comes from"), "{said}");
        assert_eq!(note(env, |name| name == "SECRET"), None);
    }
}

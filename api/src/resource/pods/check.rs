//! What is wrong with what is said of the workers' pods, beyond what the schema sees.
//!
//! Owns: what takes two fields, or a map's keys, to see. Leaves to others: where it is in the text (`manifest::meaning`). Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::super::WorkersSpec;
use super::{TaintEffect, TemplateSpec, TolerationOperator, TolerationSpec, amount};

/// The fields of a pod that an environment variable may hold, but for those with a key.
const FIELDS: [&str; 7] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.podIP",
];
/// The resources that every node has.
const RESOURCES: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
/// What the keys of the operator's own labels and annotations begin with, and of those of Kubernetes that it relies on.
const OWN_KEYS: [&str; 6] = [
    "waterspout.dev/",
    "app.kubernetes.io/",
    "apps.kubernetes.io/",
    "statefulset.kubernetes.io/",
    "kubectl.kubernetes.io/",
    "controller-revision-hash",
];

/// A fault in what is said of the workers' pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodFault {
    /// Where: the keys from `spec.workers` on.
    pub keys: Vec<&'static str>,
    /// The element of the list that the keys lead to.
    pub index: Option<usize>,
    /// The fields within it.
    pub fields: Vec<&'static str>,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub help: String,
}

impl fmt::Display for PodFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "workers.{}", self.keys.join("."))?;
        if let Some(index) = self.index {
            write!(formatter, "[{index}]")?;
        }
        for field in &self.fields {
            write!(formatter, ".{field}")?;
        }
        write!(
            formatter,
            ": {}; {}",
            self.problem.replace('`', "'"),
            self.help.replace('`', "'")
        )
    }
}

fn fault(keys: &[&'static str], problem: String, help: &str) -> PodFault {
    PodFault {
        keys: keys.to_vec(),
        index: None,
        fields: Vec::new(),
        problem,
        help: help.to_owned(),
    }
}

impl PodFault {
    fn within(self, index: usize, fields: &[&'static str]) -> Self {
        Self {
            index: Some(index),
            fields: fields.to_vec(),
            ..self
        }
    }
}

/// What is wrong.
#[must_use]
pub fn faults(workers: &WorkersSpec) -> Vec<PodFault> {
    let mut faults = resource_faults(workers);
    faults.extend(env_faults(&workers.template));
    faults.extend(mount_faults(&workers.template));
    for (index, toleration) in workers.template.tolerations.iter().enumerate() {
        faults.extend(toleration_fault(toleration).map(|(field, problem, help)| {
            fault(&["template", "tolerations"], problem, help).within(index, &[field])
        }));
    }
    let template = &workers.template;
    faults.extend(key_faults("nodeSelector", &template.node_selector, &[]));
    faults.extend(key_faults("labels", &template.labels, &OWN_KEYS));
    faults.extend(key_faults("annotations", &template.annotations, &OWN_KEYS));
    faults
}

fn resource_faults(workers: &WorkersSpec) -> Vec<PodFault> {
    let resources = &workers.resources;
    let mut faults = Vec::new();
    for (field, amounts) in [("requests", &resources.requests), ("limits", &resources.limits)] {
        for name in amounts.keys() {
            let is_known = RESOURCES.contains(&name.as_str()) || name.starts_with("hugepages-");
            let is_offered = name.contains('/') && is_key(name);
            if !is_known && !is_offered {
                let problem = format!("there is no resource `{name}`");
                let help = "it is `cpu`, `memory`, `ephemeral-storage`, or one that nodes offer, such as `example.com/gpu`";
                faults.push(fault(&["resources", field], problem, help));
            }
        }
    }
    for (name, asked) in &resources.requests {
        let Some(most) = resources.limits.get(name) else {
            continue;
        };
        if amount::parse(asked) > amount::parse(most) {
            let problem = format!("`{name}` is {asked}, which is more than its limit of {most}");
            faults.push(fault(
                &["resources", "requests"],
                problem,
                "ask for less, or raise the limit",
            ));
        } else if name.contains('/') && amount::parse(asked) != amount::parse(most) {
            let problem = format!("`{name}` is {asked}, and its limit is {most}");
            faults.push(fault(
                &["resources", "requests"],
                problem,
                "they must be the same for what nodes offer by the piece",
            ));
        }
    }
    faults
}

fn env_faults(template: &TemplateSpec) -> impl Iterator<Item = PodFault> {
    template.env.iter().enumerate().filter_map(|(index, variable)| {
        let path = &variable.value_from.as_ref()?.field_ref.as_ref()?.field_path;
        let key = ["metadata.labels['", "metadata.annotations['"]
            .iter()
            .find_map(|start| path.strip_prefix(start)?.strip_suffix("']"));
        let is_known = FIELDS.contains(&path.as_str()) || key.is_some_and(is_key);
        (!is_known).then(|| {
            let problem = format!("no variable can hold `{path}`");
            let help = format!(
                "it is one of `{}`, `metadata.labels['KEY']`, `metadata.annotations['KEY']`",
                FIELDS.join("`, `")
            );
            fault(&["template", "env"], problem, &help).within(index, &["valueFrom", "fieldRef", "fieldPath"])
        })
    })
}

fn mount_faults(template: &TemplateSpec) -> impl Iterator<Item = PodFault> {
    let known: BTreeSet<&str> = template
        .volumes
        .iter()
        .map(|volume| volume.name.as_str())
        .collect();
    let help = if known.is_empty() {
        "add it to `volumes`".to_owned()
    } else {
        let known: Vec<&str> = known.iter().copied().collect();
        format!("add it to `volumes`, which has `{}`", known.join("`, `"))
    };
    let mounts = template.volume_mounts.iter().enumerate();
    mounts
        .filter(move |(_, mount)| !known.contains(mount.name.as_str()))
        .map(move |(index, mount)| {
            let problem = format!("there is no volume `{}`", mount.name);
            fault(&["template", "volumeMounts"], problem, &help).within(index, &["name"])
        })
}

/// The field, what is wrong, what to do.
fn toleration_fault(toleration: &TolerationSpec) -> Option<(&'static str, String, &'static str)> {
    let exists = toleration.operator == TolerationOperator::Exists;
    match &toleration.key {
        None if !exists => {
            let problem = "a toleration without a key bears no taint".to_owned();
            return Some((
                "key",
                problem,
                "name the taint's key, or write `operator: Exists` to bear any",
            ));
        }
        Some(key) if !is_key(key) => {
            let problem = format!("a taint's key cannot be `{key}`");
            return Some(("key", problem, KEY_HELP));
        }
        _ => {}
    }
    if exists && toleration.value.as_ref().is_some_and(|value| !value.is_empty()) {
        let problem = "`operator: Exists` looks at no value".to_owned();
        return Some((
            "value",
            problem,
            "leave the value out, or write `operator: Equal`",
        ));
    }
    if toleration.toleration_seconds.is_some() && toleration.effect != Some(TaintEffect::NoExecute) {
        let problem = "only pods that a taint `NoExecute` would send away stay for some time".to_owned();
        return Some((
            "tolerationSeconds",
            problem,
            "write `effect: NoExecute`, or leave it out",
        ));
    }
    None
}

const KEY_HELP: &str = "a key has letters, digits, `-`, `_` and `.`, at most 63, and may have a domain and `/` before it: `example.com/pool`";

fn key_faults(
    field: &'static str,
    map: &BTreeMap<String, String>,
    own: &'static [&'static str],
) -> impl Iterator<Item = PodFault> {
    map.keys().filter_map(move |key| {
        if own.iter().any(|own| key.starts_with(own)) {
            let problem = format!("`{key}` is for the operator or Kubernetes alone");
            return Some(fault(&["template", field], problem, "take another key"));
        }
        let wrong = || fault(&["template", field], format!("a key cannot be `{key}`"), KEY_HELP);
        (!is_key(key)).then(wrong)
    })
}

/// Whether a text is a key of a label: a name of at most 63 characters, and a domain before it if there is a `/`.
fn is_key(text: &str) -> bool {
    let (domain, name) = match text.split_once('/') {
        Some((domain, name)) => (Some(domain), name),
        None => (None, text),
    };
    let bounded = |text: &str, most: usize, inner: fn(&u8) -> bool| {
        let bytes = text.as_bytes();
        (1..=most).contains(&bytes.len())
            && bytes.iter().all(inner)
            && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
            && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
    };
    bounded(name, 63, |byte| {
        byte.is_ascii_alphanumeric() || b"-_.".contains(byte)
    }) && domain.is_none_or(|domain| {
        domain.split('.').all(|label| {
            bounded(label, 63, |byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-'
            })
        }) && domain.len() <= 253
    })
}

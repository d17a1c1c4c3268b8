//! What users say of the workers' pods, in the pods' template.
//!
//! Owns: where each of it goes. Leaves to others: what may be said (`waterspout_api::resource::pods`), the rest of the template
//! ([`super::objects`]). Pure.
//!
//! Invariant: what is rendered is what the API server gives back, so that it is not written again: amounts in its own form, and
//! nothing that it leaves out.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use waterspout_api::resource::pods::amount::canonical;
use waterspout_api::resource::{ResourcesSpec, TemplateSpec, WorkersSpec};

/// What a topology's spec says of its pods: as there, a part of its revision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PodSettings {
    #[serde(skip_serializing_if = "ResourcesSpec::is_empty")]
    resources: ResourcesSpec,
    #[serde(skip_serializing_if = "TemplateSpec::is_empty")]
    template: TemplateSpec,
}

impl PodSettings {
    /// What a spec says.
    pub(super) fn of(workers: &WorkersSpec) -> Self {
        Self {
            resources: workers.resources.clone(),
            template: workers.template.clone(),
        }
    }

    /// As text, if anything is said at all.
    pub(super) fn to_text(&self) -> Option<String> {
        let text = || serde_json::to_string(self).expect("settings have text keys only");
        (*self != Self::default()).then(text)
    }

    /// Puts it into the template of a worker's pod, which has one container.
    pub(super) fn put_into(&self, pod: &mut Value) {
        let template = &self.template;
        let metadata = &mut pod["metadata"];
        add(metadata, "labels", json!(template.labels));
        add(metadata, "annotations", json!(template.annotations));
        let spec = &mut pod["spec"];
        add(spec, "volumes", volumes(template));
        add(spec, "nodeSelector", json!(template.node_selector));
        add(spec, "tolerations", json!(template.tolerations));
        add(spec, "imagePullSecrets", json!(template.image_pull_secrets));
        if let Some(class) = &template.priority_class_name {
            spec["priorityClassName"] = class.as_str().into();
        }
        let container = &mut spec["containers"][0];
        add(container, "env", json!(template.env));
        add(container, "volumeMounts", json!(template.volume_mounts));
        add(container, "resources", amounts(&self.resources));
    }
}

fn amounts(resources: &ResourcesSpec) -> Value {
    let mut amounts = json!(resources);
    for amount in amounts
        .as_object_mut()
        .into_iter()
        .flat_map(|kinds| kinds.values_mut())
    {
        for value in amount
            .as_object_mut()
            .into_iter()
            .flat_map(|names| names.values_mut())
        {
            *value = canonical(value.as_str().unwrap_or_default()).into();
        }
    }
    amounts
}

fn volumes(template: &TemplateSpec) -> Value {
    let mut volumes = json!(template.volumes);
    for volume in volumes.as_array_mut().into_iter().flatten() {
        if let Some(limit) = volume.pointer_mut("/emptyDir/sizeLimit") {
            *limit = canonical(limit.as_str().unwrap_or_default()).into();
        }
    }
    volumes
}

/// Adds to what a field has; one that is not there stays so if there is nothing to add.
fn add(object: &mut Value, field: &str, more: Value) {
    match more {
        Value::Array(more) if !more.is_empty() => {
            let more = more.into_iter().map(without_empty_texts);
            match &mut object[field] {
                Value::Array(list) => list.extend(more),
                none => *none = more.collect(),
            }
        }
        Value::Object(more) if !more.is_empty() => match &mut object[field] {
            Value::Object(map) => map.extend(more),
            none => *none = more.into(),
        },
        _ => {}
    }
}

/// The API server leaves them out.
fn without_empty_texts(mut object: Value) -> Value {
    if let Value::Object(fields) = &mut object {
        fields.retain(|_, value| value != "");
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_say_nothing_change_nothing() {
        let pod = json!({
            "metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}},
            "spec": {"volumes": [], "containers": [{"name": "worker", "env": [], "volumeMounts": []}]},
        });
        let mut same = pod.clone();
        PodSettings::default().put_into(&mut same);
        assert_eq!(same, pod);
        assert_eq!(PodSettings::default().to_text(), None);
    }
}

//! What is kept of the objects that watches bring: little, since there are thousands of them.
//!
//! Owns: what is kept of an object of the operator's, of a pod, of an Event, and whose they are. Leaves to others: where it is
//! kept ([`crate::shelf`]). Pure.
//!
//! Invariant: what others write into an object and the operator does not read is no change of it.

use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{DynamicObject, TypeMeta};
use serde_json::{Value, json};

use crate::owned::{Kind, TOPOLOGY_LABEL};
use crate::plan::{PodView, There, quote};
use crate::shelf::Entry;

/// The Events that are kept.
pub(crate) const REFUSALS: &str = "involvedObject.kind=StatefulSet,reason=FailedCreate";

/// An object that the operator made. It is kept as text, which takes a tenth of the memory of what it says.
#[derive(Debug)]
pub(crate) struct Object {
    name: String,
    uid: String,
    owners: Vec<String>,
    is_ending: bool,
    version: Option<String>,
    /// Without version and bookkeeping, and of the status only what is read.
    text: Box<str>,
}

impl PartialEq for Object {
    /// Whether there is nothing to be seen that is another.
    fn eq(&self, other: &Self) -> bool {
        let parts = |object: &Self| (object.is_ending, object.owners.len());
        parts(self) == parts(other) && (&self.uid, &self.text) == (&other.uid, &other.text)
    }
}

impl Object {
    /// Whether it belongs to the topology with this uid.
    pub(crate) fn is_of(&self, owner: &str) -> bool {
        self.owners.iter().any(|uid| uid == owner)
    }

    /// The object itself.
    pub(crate) fn read(&self, kind: &'static Kind) -> There {
        let mut body: Value = serde_json::from_str(&self.text).expect("it was written here");
        body["metadata"]["resourceVersion"] = self.version.as_deref().into();
        There {
            kind,
            name: self.name.clone(),
            uid: self.uid.clone(),
            is_ending: self.is_ending,
            body,
        }
    }
}

/// What is kept of an object of a kind.
pub(crate) fn object(kind: &Kind, mut object: DynamicObject) -> Option<Entry<Object>> {
    let (namespace, topology) = (object.namespace()?, object.labels().get(TOPOLOGY_LABEL)?.clone());
    let name = object.name_any();
    let version = object.metadata.resource_version.take();
    object.metadata.managed_fields = None;
    // Lists leave the types of their items out.
    object.types = Some(TypeMeta {
        api_version: kind.api_version(),
        kind: kind.kind.to_owned(),
    });
    if let Value::Object(fields) = &mut object.data
        && let Some(status) = fields.shift_remove("status")
        && let Some(observed) = status
            .get("observedGeneration")
            .filter(|_| kind.kind == "StatefulSet")
    {
        fields.insert("status".to_owned(), json!({"observedGeneration": observed}));
    }
    let kept = Object {
        uid: object.uid().unwrap_or_default(),
        owners: object
            .owner_references()
            .iter()
            .map(|owner| owner.uid.clone())
            .collect(),
        is_ending: object.metadata.deletion_timestamp.is_some(),
        version,
        text: serde_json::to_string(&object).ok()?.into(),
        name: name.clone(),
    };
    Some(Entry {
        namespace,
        topology,
        name,
        kept,
    })
}

/// What is kept of a worker's pod.
pub(crate) fn pod(pod: Pod) -> Option<Entry<PodView>> {
    let kept = PodView::read(&pod)?;
    Some(Entry {
        namespace: pod.namespace()?,
        topology: pod.labels().get(TOPOLOGY_LABEL)?.clone(),
        name: kept.name.clone(),
        kept,
    })
}

/// That the API server refuses pods of a StatefulSet.
#[derive(Debug, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) set: String,
    pub(crate) time: Option<Timestamp>,
    pub(crate) message: String,
}

/// What is kept of an Event, if it is about a StatefulSet with a name such as operators give.
pub(crate) fn refusal(event: Event) -> Option<Entry<Refusal>> {
    let series = event
        .series
        .as_ref()
        .and_then(|series| series.last_observed_time.clone());
    let time = series.map(|time| time.0);
    let time = time.or(event.last_timestamp.clone().map(|time| time.0));
    let set = event.involved_object.name.clone()?;
    let (topology, revision) = set.rsplit_once('-')?;
    let is_revision = revision.len() == 8 && revision.bytes().all(|byte| byte.is_ascii_hexdigit());
    let topology = is_revision.then(|| topology.to_owned())?;
    Some(Entry {
        namespace: event.namespace()?,
        topology,
        name: event.name_any(),
        kept: Refusal {
            set,
            time,
            message: quote(event.message.as_deref()?),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(version: &str, status: Value) -> DynamicObject {
        let value = json!({
            "metadata": {
                "name": "words-1a2b3c4d", "namespace": "n", "uid": "u", "resourceVersion": version, "generation": 2,
                "labels": {TOPOLOGY_LABEL: "words"},
                "ownerReferences": [{"apiVersion": "a", "kind": "b", "name": "c", "uid": "owner"}],
                "managedFields": [{"manager": "x"}],
            },
            "spec": {"replicas": 3},
            "status": status,
        });
        serde_json::from_value(value).expect("an object")
    }

    #[test]
    fn an_object_is_another_if_what_is_read_of_it_is() {
        let sets = Kind::named("StatefulSet").expect("it is one of them");
        let kept = |version, status| {
            object(sets, set(version, status))
                .expect("it is one of ours")
                .kept
        };
        let before = kept("5", json!({"observedGeneration": 1, "replicas": 0}));
        assert_eq!(before, kept("6", json!({"observedGeneration": 1, "replicas": 3})));
        assert_ne!(before, kept("6", json!({"observedGeneration": 2, "replicas": 0})));
        assert!(before.is_of("owner") && !before.is_of("another"));
        let there = before.read(sets);
        assert_eq!((there.name.as_str(), there.uid.as_str()), ("words-1a2b3c4d", "u"));
        assert_eq!(there.body["metadata"]["resourceVersion"], "5");
        assert_eq!(there.body["kind"], "StatefulSet");
        assert_eq!(there.body["status"], json!({"observedGeneration": 1}));
        assert!(there.body["metadata"]["managedFields"].is_null());
    }

    #[test]
    fn an_event_is_about_the_topology_whose_set_it_names() {
        let event = |set: &str| -> Event {
            let value = json!({
                "metadata": {"name": "e", "namespace": "n"},
                "involvedObject": {"kind": "StatefulSet", "name": set},
                "message": " exceeded quota ", "lastTimestamp": "2026-01-02T03:04:05Z",
            });
            serde_json::from_value(value).expect("an Event")
        };
        let entry = refusal(event("two-words-1a2b3c4d")).expect("it is one");
        assert_eq!(
            (entry.topology.as_str(), entry.kept.message.as_str()),
            ("two-words", "exceeded quota")
        );
        assert!(entry.kept.time.is_some());
        assert!(refusal(event("words")).is_none() && refusal(event("words-web")).is_none());
    }
}

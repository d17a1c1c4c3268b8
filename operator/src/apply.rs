//! Writing: the only file that changes anything in the cluster, but for the Lease by which this operator leads ([`crate::lease`]).
//!
//! Owns: server-side apply under one field manager, removing, the status, Events. Leaves to others: what to write
//! ([`crate::plan`]).
//!
//! Invariants: an object that is not of this topology is never taken over; a plan is written only in the place of the one
//! that it follows; an object is removed only if it is still the one that was looked at.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::{Value, json};
use thiserror::Error;
use waterspout_api::resource::{API_VERSION, KIND, Topology, TopologyStatus};

use crate::metrics::Metrics;
use crate::owned::{Kind, MANAGER};
use crate::plan::{Decision, Desired, Notice, There};

/// Why something was not written.
#[derive(Debug, Error)]
pub(crate) enum ApplyError {
    /// The API server did not take an object.
    #[error("write {kind} '{name}'")]
    ApplyObject {
        kind: &'static str,
        name: String,
        source: Box<kube::Error>,
    },
    /// The name is taken.
    #[error(
        "{kind} '{name}' is there and not of this topology; rename or remove it, or give the topology another name"
    )]
    NameTaken { kind: &'static str, name: String },
    /// The API server did not remove an object.
    #[error("remove {kind} '{name}'")]
    RemoveObject {
        kind: &'static str,
        name: String,
        source: Box<kube::Error>,
    },
    /// The API server did not take the status.
    #[error("write the status of topology '{name}'")]
    WriteStatus { name: String, source: Box<kube::Error> },
}

impl ApplyError {
    /// Whether somebody else wrote in between, so that another look is all that is needed.
    pub(crate) fn is_conflict(&self) -> bool {
        let source = match self {
            Self::ApplyObject { source, .. }
            | Self::RemoveObject { source, .. }
            | Self::WriteStatus { source, .. } => source,
            Self::NameTaken { .. } => return false,
        };
        matches!(&**source, kube::Error::Api(status) if status.code == 409)
    }

    /// Whether the namespace is about to go, and the topology with it.
    pub(crate) fn is_end_of_namespace(&self) -> bool {
        let Self::ApplyObject { source, .. } = self else {
            return false;
        };
        matches!(&**source, kube::Error::Api(status) if status.code == 403 && status.message.contains("is being terminated"))
    }

    /// A reason and a sentence for the topology's Events, where the cluster refuses something.
    pub(crate) fn notice(&self) -> Option<Notice> {
        if self.is_end_of_namespace() {
            return None;
        }
        let (reason, note) = match self {
            Self::NameTaken { .. } => ("NameTaken", self.to_string()),
            Self::ApplyObject { source, .. } | Self::RemoveObject { source, .. } => match &**source {
                kube::Error::Api(status) if status.code == 403 || status.code == 422 => {
                    let what = format!(
                        "{self}: {}; mend what the message names, and it goes on",
                        status.message
                    );
                    ("Refused", what)
                }
                _ => return None,
            },
            Self::WriteStatus { .. } => return None,
        };
        Some(Notice {
            is_warning: true,
            reason: reason.to_owned(),
            note,
            about: None,
        })
    }
}

/// What writes.
pub(crate) struct Writer {
    client: Client,
    recorder: Recorder,
}

impl Writer {
    pub(crate) fn new(client: Client) -> Self {
        let reporter = Reporter {
            controller: MANAGER.to_owned(),
            instance: None,
        };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
        }
    }

    /// Does what was decided. `wrote` is told of each object as it is then.
    pub(crate) async fn apply(
        &self,
        topology: &Topology,
        decision: &Decision,
        metrics: &Metrics,
        wrote: &(dyn Fn(&Kind, DynamicObject) + Sync),
    ) -> Result<(), ApplyError> {
        let namespace = topology.namespace().unwrap_or_default();
        let owner = topology.uid().unwrap_or_default();
        for desired in &decision.apply {
            wrote(
                desired.kind,
                self.apply_object(&namespace, &owner, desired).await?,
            );
        }
        for desired in &decision.create {
            wrote(desired.kind, self.create_object(&namespace, desired).await?);
        }
        if decision.is_new_plan {
            metrics.planned();
        }
        for there in &decision.remove {
            self.remove_object(&namespace, there).await?;
            metrics.wrote(there.kind.kind);
        }
        Ok(())
    }

    fn api(&self, namespace: &str, kind: &Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &kind.resource())
    }

    async fn apply_object(
        &self,
        namespace: &str,
        owner: &str,
        desired: &Desired,
    ) -> Result<DynamicObject, ApplyError> {
        let (kind, name) = (desired.kind.kind, &desired.name);
        let failed = |source| not_taken(desired, source);
        let api = self.api(namespace, desired.kind);
        let same_name = ListParams::default().fields(&format!("metadata.name={name}"));
        let found = api.list(&same_name).await.map_err(failed)?;
        let is_foreign = |object: &DynamicObject| {
            let owners = object.owner_references();
            !owners.iter().any(|reference| reference.uid == owner)
        };
        if found.items.iter().any(is_foreign) {
            return Err(ApplyError::NameTaken {
                kind,
                name: name.clone(),
            });
        }
        self.patch(namespace, desired, &desired.body).await
    }

    /// Applies a body, which is that of an object or more, and takes over its fields from others.
    async fn patch(
        &self,
        namespace: &str,
        desired: &Desired,
        body: &Value,
    ) -> Result<DynamicObject, ApplyError> {
        let (kind, name) = (desired.kind.kind, &desired.name);
        let how = PatchParams::apply(MANAGER).force();
        let api = self.api(namespace, desired.kind);
        let written = api.patch(name, &how, &Patch::Apply(body)).await;
        let written = written.map_err(|source| not_taken(desired, source))?;
        tracing::info!(namespace, kind, name, "wrote");
        Ok(written)
    }

    /// Writes a Secret in the place of the one of this version; if there is none, only where there still is none.
    pub(crate) async fn write_secret(
        &self,
        namespace: &str,
        desired: &Desired,
        version: Option<&str>,
    ) -> Result<(), ApplyError> {
        let Some(version) = version else {
            return self.create_object(namespace, desired).await.map(drop);
        };
        let mut body = desired.body.clone();
        body["metadata"]["resourceVersion"] = version.into();
        self.patch(namespace, desired, &body).await.map(drop)
    }

    async fn create_object(&self, namespace: &str, desired: &Desired) -> Result<DynamicObject, ApplyError> {
        let (kind, name) = (desired.kind.kind, &desired.name);
        let failed = |source| not_taken(desired, source);
        let object: DynamicObject = serde_json::from_value(desired.body.clone())
            .map_err(kube::Error::SerdeError)
            .map_err(failed)?;
        let how = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        let api = self.api(namespace, desired.kind);
        let made = api.create(&how, &object).await.map_err(failed)?;
        tracing::info!(namespace, kind, name, "made");
        Ok(made)
    }

    async fn remove_object(&self, namespace: &str, there: &There) -> Result<(), ApplyError> {
        let how = DeleteParams::background().preconditions(Preconditions {
            uid: Some(there.uid.clone()),
            resource_version: None,
        });
        match self.api(namespace, there.kind).delete(&there.name, &how).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(source) => Err(ApplyError::RemoveObject {
                kind: there.kind.kind,
                name: there.name.clone(),
                source: Box::new(source),
            }),
            Ok(_) => {
                tracing::info!(namespace, kind = there.kind.kind, name = there.name, "removed");
                Ok(())
            }
        }
    }

    /// Deletes a topology that is over. What belongs to it follows.
    pub(crate) async fn delete(&self, topology: &Topology) -> Result<(), ApplyError> {
        let name = topology.name_any();
        let api: Api<Topology> =
            Api::namespaced(self.client.clone(), &topology.namespace().unwrap_or_default());
        let how = DeleteParams::background().preconditions(Preconditions {
            uid: topology.uid(),
            resource_version: topology.resource_version(),
        });
        match api.delete(&name, &how).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(source) => Err(ApplyError::RemoveObject {
                kind: KIND,
                name,
                source: Box::new(source),
            }),
            Ok(_) => {
                tracing::info!(
                    topology = name,
                    "deleted: its time has passed since it was complete"
                );
                Ok(())
            }
        }
    }

    /// Writes the status, if it is another: if `is_exact`, only in the place of the one that was looked at.
    pub(crate) async fn write_status(
        &self,
        topology: &Topology,
        status: &TopologyStatus,
        is_exact: bool,
        metrics: &Metrics,
    ) -> Result<(), ApplyError> {
        if topology.status.as_ref() == Some(status) {
            return Ok(());
        }
        let name = topology.name_any();
        let namespace = topology.namespace().unwrap_or_default();
        let api: Api<Topology> = Api::namespaced(self.client.clone(), &namespace);
        let mut body = json!({
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": name, "uid": topology.metadata.uid},
            "status": status,
        });
        if is_exact {
            body["metadata"]["resourceVersion"] = topology.metadata.resource_version.as_deref().into();
        }
        let how = PatchParams::apply(MANAGER).force();
        match api.patch_status(&name, &how, &Patch::Apply(&body)).await {
            // It was deleted in between.
            Err(kube::Error::Api(error)) if error.code == 404 => return Ok(()),
            Err(source) => {
                return Err(ApplyError::WriteStatus {
                    name,
                    source: Box::new(source),
                });
            }
            Ok(_) => {}
        }
        metrics.wrote(KIND);
        Ok(())
    }

    /// Tells people, in Events of the topology. That one is lost does no harm.
    pub(crate) async fn tell(&self, topology: &Topology, notices: &[Notice]) {
        let about: ObjectReference = topology.object_ref(&());
        for notice in notices {
            let event = Event {
                type_: if notice.is_warning {
                    EventType::Warning
                } else {
                    EventType::Normal
                },
                reason: notice.reason.clone(),
                note: Some(short(&notice.note)),
                // Notices of one reason and action are one Event, with a count.
                action: notice.about.clone().unwrap_or_else(|| "Reconcile".to_owned()),
                secondary: None,
            };
            if let Err(error) = self.recorder.publish(&event, &about).await {
                tracing::warn!(topology = topology.name_any(), "post an Event: {error}");
            }
        }
    }
}

fn not_taken(desired: &Desired, source: kube::Error) -> ApplyError {
    ApplyError::ApplyObject {
        kind: desired.kind.kind,
        name: desired.name.clone(),
        source: Box::new(source),
    }
}

/// The API server takes notes of at most a thousand bytes.
fn short(note: &str) -> String {
    const MOST: usize = 1000;
    let end = (0..=note.len().min(MOST))
        .rev()
        .find(|&end| note.is_char_boundary(end))
        .unwrap_or(0);
    note[..end].to_owned()
}

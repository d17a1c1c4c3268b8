//! `waterspout restart`, `pause` and `resume`.

use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use waterspout_api::resource::Topology;

use super::{MANAGER, Session, say};
use crate::Output;

/// The annotation by which a topology is started anew, whatever its value.
pub(super) const RESTARTED_ANNOTATION: &str = "waterspout.dev/restarted-at";

/// Changes a topology, and says so.
pub(super) async fn patch(
    session: &Session,
    topology: &Topology,
    body: &Value,
    done: &str,
) -> anyhow::Result<()> {
    let name = topology.name_any();
    let mut body = body.clone();
    // What was decided was decided about this version.
    body["metadata"]["resourceVersion"] = topology.metadata.resource_version.clone().into();
    let params = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patched = session
        .topologies()
        .patch(&name, &params, &Patch::Merge(&body))
        .await
        .map_err(|error| session.refused(&format!("change topology '{name}'"), error))?;
    match session.output {
        Output::Text => say(&format!("topology '{name}' {done}")),
        Output::Json => {
            let generation = patched.metadata.generation;
            say(&json!({"topology": name, "generation": generation, "done": done}).to_string())
        }
    }
}

/// Lets a topology be released once more.
pub(super) async fn restart(session: &Session, name: &str) -> anyhow::Result<()> {
    let topology = session.topology(name).await?;
    let now = k8s_openapi::jiff::Timestamp::now().to_string();
    let body = json!({"metadata": {"annotations": {RESTARTED_ANNOTATION: now}}});
    patch(session, &topology, &body, "is released once more").await
}

/// Lets the spouts rest, or run.
pub(super) async fn pause(session: &Session, name: &str, paused: bool) -> anyhow::Result<()> {
    let topology = session.topology(name).await?;
    let done = match (topology.spec.paused, paused) {
        (false, true) => "pauses",
        (true, false) => "goes on",
        (true, true) => "was paused before",
        (false, false) => "was not paused",
    };
    patch(session, &topology, &json!({"spec": {"paused": paused}}), done).await
}

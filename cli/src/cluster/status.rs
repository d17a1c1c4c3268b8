//! `waterspout status`.

use anyhow::Context;
use futures::TryStreamExt;
use kube::ResourceExt;
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;
use waterspout_api::resource::Topology;

use super::{Session, say, table};
use crate::Output;

/// Shows how a topology stands, once or whenever it changes.
pub(super) async fn show(session: &Session, name: &str, watch: bool) -> anyhow::Result<()> {
    let topology = session.topology(name).await?;
    tell(session, &topology)?;
    if !watch {
        return Ok(());
    }
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let coming = watcher(session.topologies(), only)
        .default_backoff()
        .applied_objects();
    let mut coming = std::pin::pin!(coming);
    let mut last = topology.status;
    while let Some(topology) = coming.try_next().await.context("watch the topology")? {
        if topology.status != last {
            if session.output == Output::Text {
                say(" ")?;
            }
            tell(session, &topology)?;
            last = topology.status;
        }
    }
    Ok(())
}

fn tell(session: &Session, topology: &Topology) -> anyhow::Result<()> {
    match session.output {
        Output::Text => say(&in_words(topology)),
        Output::Json => {
            let status = topology.status.clone().unwrap_or_default();
            say(&json!({"topology": topology.name_any(), "status": status}).to_string())
        }
    }
}

fn in_words(topology: &Topology) -> String {
    let status = topology.status.clone().unwrap_or_default();
    let is_stale = status.observed_generation != topology.metadata.generation;
    let state = match status.state {
        Some(state) if is_stale => format!("{state:?}, and the operator has not seen the newest change"),
        Some(state) => format!("{state:?}"),
        None => "unknown: the operator has not looked at it; is it up?".to_owned(),
    };
    let (ready, wanted) = (status.ready_replicas.unwrap_or(0), topology.spec.workers.replicas);
    let mut rows = vec![
        ("topology", topology.name_any()),
        ("state", state),
        ("workers", format!("{ready} of {wanted} ready")),
    ];
    if let Some(epoch) = status.epoch {
        rows.push(("epoch", epoch.to_string()));
    }
    if let Some(revision) = &status.revision {
        rows.push(("revision", revision.current.clone()));
    }
    if let Some(release) = &status.release {
        rows.push((
            "release",
            format!(
                "{:?} since {}, '{}' in the place of '{}'",
                release.phase, release.since.0, release.to, release.from
            ),
        ));
    }
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(name, text)| vec![name.to_owned(), text])
        .collect();
    let conditions = status.conditions.iter().map(|condition| {
        vec![
            condition.type_.clone(),
            condition.status.clone(),
            condition.reason.clone(),
            condition.message.clone(),
        ]
    });
    let header = ["CONDITION", "STATUS", "REASON", "MESSAGE"]
        .map(str::to_owned)
        .to_vec();
    let conditions: Vec<Vec<String>> = std::iter::once(header).chain(conditions).collect();
    format!("{}\n\n{}", table(&rows), table(&conditions))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_says_what_runs_and_what_goes_on() {
        let topology: Topology = serde_json::from_value(json!({
            "apiVersion": "waterspout.dev/v1alpha1", "kind": "Topology",
            "metadata": {"name": "words", "generation": 3},
            "spec": {"workers": {"replicas": 2}, "spouts": []},
            "status": {
                "observedGeneration": 3, "state": "Running", "readyReplicas": 2, "epoch": 7,
                "revision": {"current": "words-1a2b3c4d"},
                "release": {
                    "from": "words-1a2b3c4d", "to": "words-5e6f7a8b", "phase": "Opening",
                    "since": "2026-01-02T03:04:05Z", "fromEpoch": 7, "toEpoch": 0,
                },
                "conditions": [{
                    "type": "Progressing", "status": "True", "reason": "Releasing", "message": "it starts",
                    "lastTransitionTime": "2026-01-02T03:04:05Z",
                }],
            },
        }))
        .expect("a topology");
        insta::assert_snapshot!(in_words(&topology), @r"
        topology  words
        state     Running
        workers   2 of 2 ready
        epoch     7
        revision  words-1a2b3c4d
        release   Opening since 2026-01-02T03:04:05Z, 'words-5e6f7a8b' in the place of 'words-1a2b3c4d'

        CONDITION    STATUS  REASON     MESSAGE
        Progressing  True    Releasing  it starts
        ");
    }
}

//! `waterspout releases` and `rollback`.
//!
//! Owns: reading the history that the operator keeps as ControllerRevisions. Leaves to others: keeping it.

use anyhow::{Context, bail};
use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use waterspout_api::resource::{Topology, TopologyStatus};

use super::change::{RESTARTED_ANNOTATION, patch};
use super::{Session, say, table};
use crate::Output;

const CAUSE_ANNOTATION: &str = "kubernetes.io/change-cause";

/// The history of a topology, oldest first.
async fn read(session: &Session, topology: &Topology) -> anyhow::Result<Vec<ControllerRevision>> {
    let name = topology.name_any();
    let api: Api<ControllerRevision> = Api::namespaced(session.client.clone(), &session.namespace);
    // StatefulSets keep theirs under the same labels.
    let ours = format!("waterspout.dev/topology={name},app.kubernetes.io/managed-by=waterspout-operator");
    let listed = api.list(&ListParams::default().labels(&ours)).await;
    let listed = listed.map_err(|error| session.refused("list the revisions", error))?;
    let is_ours = |entry: &ControllerRevision| {
        let owners = entry.metadata.owner_references.iter().flatten();
        owners
            .map(|owner| &owner.uid)
            .any(|uid| Some(uid) == topology.metadata.uid.as_ref())
    };
    let mut entries: Vec<ControllerRevision> = listed.items.into_iter().filter(is_ours).collect();
    entries.sort_by_key(|entry| entry.revision);
    Ok(entries)
}

/// What has become of a revision, in a word or two.
fn standing(entry: &str, is_newest: bool, status: &TopologyStatus) -> String {
    if let Some(release) = &status.release
        && (release.to == entry || release.from == entry)
    {
        let side = if release.to == entry { "new" } else { "before" };
        return format!("{side}, {:?}", release.phase);
    }
    if let Some(failed) = status
        .failed_revisions
        .iter()
        .find(|failed| failed.revision == entry)
    {
        return format!("failed, {}", failed.reason);
    }
    let revision = status.revision.as_ref();
    if revision.is_some_and(|revision| revision.current == entry) {
        return "runs".to_owned();
    }
    if revision.is_some_and(|revision| revision.previous.as_deref() == Some(entry)) {
        return "ran before".to_owned();
    }
    if is_newest {
        "wanted".to_owned()
    } else {
        String::new()
    }
}

/// The rows that are shown, as JSON objects.
fn rows(entries: &[ControllerRevision], status: &TopologyStatus) -> Vec<Value> {
    let newest = entries.last().map(|entry| entry.revision);
    entries
        .iter()
        .map(|entry| {
            let name = entry.name_any();
            let cause = entry.annotations().get(CAUSE_ANNOTATION).cloned();
            let failed = status
                .failed_revisions
                .iter()
                .find(|failed| failed.revision == name);
            json!({
                "number": entry.revision,
                "revision": name,
                "standing": standing(&name, Some(entry.revision) == newest, status),
                "made": entry.metadata.creation_timestamp.as_ref().map(|made| made.0.to_string()),
                "cause": cause,
                "message": failed.map(|failed| failed.message.clone()),
            })
        })
        .collect()
}

fn as_table(rows: &[Value]) -> String {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let header = ["NUMBER", "REVISION", "STANDING", "MADE", "CAUSE"]
        .map(str::to_owned)
        .to_vec();
    let keys = ["number", "revision", "standing", "made", "cause"];
    let body = rows
        .iter()
        .map(|row| keys.iter().map(|key| text(&row[*key])).collect());
    let all: Vec<Vec<String>> = std::iter::once(header).chain(body).collect();
    table(&all)
}

/// Lists the revisions of a topology.
pub(super) async fn list(session: &Session, name: &str) -> anyhow::Result<()> {
    let topology = session.topology(name).await?;
    let entries = read(session, &topology).await?;
    let rows = rows(&entries, &topology.status.clone().unwrap_or_default());
    match session.output {
        Output::Text if rows.is_empty() => {
            say("there is none yet: the operator has not looked at the topology")
        }
        Output::Text => say(&as_table(&rows)),
        Output::Json => say(&rows.iter().map(Value::to_string).collect::<Vec<_>>().join("\n")),
    }
}

/// Lets a topology go back to an earlier revision.
pub(super) async fn go_back(session: &Session, name: &str, to: Option<i64>) -> anyhow::Result<()> {
    let topology = session.topology(name).await?;
    let entries = read(session, &topology).await?;
    let entry = choose(&entries, to)?;
    let data = entry.data.as_ref().map(|data| &data.0);
    let data = data.context("the revision is empty; the operator did not write it")?;
    let now = serde_json::to_value(&topology.spec).context("write the spec")?;
    let mut body = json!({
        "metadata": {"annotations": {RESTARTED_ANNOTATION: data["restartedAt"]}},
        "spec": numbered_as(&data["spec"], &now),
    });
    let workers = json!(topology.spec.workers);
    for field in ["resources", "template"] {
        body["spec"]["workers"][field] = replacing(&workers[field], &data["spec"]["workers"][field]);
    }
    let done = format!(
        "goes back to revision {} ('{}')",
        entry.revision,
        entry.name_any()
    );
    patch(session, &topology, &body, &done).await
}

/// The merge patch that leaves of a value nothing but another one.
fn replacing(before: &Value, after: &Value) -> Value {
    let (Value::Object(before), Value::Object(after)) = (before, after) else {
        return after.clone();
    };
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    let gone = gone.map(|key| (key.clone(), Value::Null));
    let stays = after.iter().map(|(key, after)| {
        (
            key.clone(),
            replacing(before.get(key).unwrap_or(&Value::Null), after),
        )
    });
    gone.chain(stays).collect()
}

/// What an earlier revision was, with the numbers of tasks that components have now: they apply to whatever runs.
fn numbered_as(before: &Value, now: &Value) -> Value {
    let mut spec = before.clone();
    for role in ["spouts", "bolts"] {
        let known = now[role].as_array().into_iter().flatten();
        for component in spec[role].as_array_mut().into_iter().flatten() {
            let mut known = known.clone();
            if let Some(same) = known.find(|known| known["name"] == component["name"]) {
                component["replicas"] = same["replicas"].clone();
            }
        }
    }
    spec
}

/// The revision that is meant.
fn choose(entries: &[ControllerRevision], to: Option<i64>) -> anyhow::Result<&ControllerRevision> {
    let numbers: Vec<String> = entries.iter().map(|entry| entry.revision.to_string()).collect();
    let numbers = numbers.join(", ");
    match to {
        Some(to) => {
            let found = entries.iter().find(|entry| entry.revision == to);
            found.with_context(|| format!("there is no revision {to}; there are {numbers}"))
        }
        None => {
            let [.., before, _] = entries else {
                bail!("there is no earlier revision to go back to; there is {numbers}")
            };
            Ok(before)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn going_back_leaves_the_numbers_of_tasks_as_they_are() {
        let before = json!({"workers": {"image": "one"}, "spouts": [{"name": "in", "replicas": 1}],
            "bolts": [{"name": "gone", "replicas": 2}, {"name": "count", "replicas": 3, "stateVersion": 1}]});
        let now = json!({"spouts": [{"name": "in", "replicas": 4}],
            "bolts": [{"name": "count", "replicas": 5, "stateVersion": 2}]});
        let back = numbered_as(&before, &now);
        assert_eq!(
            back,
            json!({"workers": {"image": "one"}, "spouts": [{"name": "in", "replicas": 4}],
                "bolts": [{"name": "gone", "replicas": 2}, {"name": "count", "replicas": 5, "stateVersion": 1}]})
        );
    }

    fn entries(numbers: &[i64]) -> Vec<ControllerRevision> {
        let entry = |number: &i64| {
            let value = json!({
                "apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": number,
                "metadata": {
                    "name": format!("words-{number:08x}"),
                    "creationTimestamp": "2026-01-02T03:04:05Z",
                    "annotations": {CAUSE_ANNOTATION: format!("change {number}")},
                },
            });
            serde_json::from_value(value).expect("a revision")
        };
        numbers.iter().map(entry).collect()
    }

    #[test]
    fn the_one_before_the_newest_is_meant_unless_a_number_is_said() {
        let all = entries(&[2, 3, 5]);
        assert_eq!(choose(&all, None).expect("there is one").revision, 3);
        assert_eq!(choose(&all, Some(2)).expect("there is one").revision, 2);
        let missing = choose(&all, Some(4)).expect_err("there is none").to_string();
        assert_eq!(missing, "there is no revision 4; there are 2, 3, 5");
        assert!(choose(&entries(&[1]), None).is_err());
    }

    #[test]
    fn what_is_said_of_pods_goes_back_as_a_whole() {
        let before =
            json!({"nodeSelector": {"a": "1", "b": "2"}, "env": [{"name": "A"}], "priorityClassName": "p"});
        let after = json!({"nodeSelector": {"b": "3"}, "env": [{"name": "B"}]});
        let patch = json!({
            "nodeSelector": {"a": null, "b": "3"}, "env": [{"name": "B"}], "priorityClassName": null,
        });
        assert_eq!(replacing(&before, &after), patch);
        assert_eq!(replacing(&Value::Null, &after), after);
        assert_eq!(replacing(&before, &Value::Null), Value::Null);
    }

    #[test]
    fn what_has_become_of_each_revision_is_listed() {
        let status: TopologyStatus = serde_json::from_value(json!({
            "revision": {"current": "words-00000003", "previous": "words-00000001"},
            "failedRevisions": [{
                "revision": "words-00000002", "reason": "WorkersFail", "message": "they die", "at": "2026-01-02T03:04:05Z"
            }],
        }))
        .expect("a status");
        insta::assert_snapshot!(as_table(&rows(&entries(&[1, 2, 3, 4]), &status)), @r"
        NUMBER  REVISION        STANDING             MADE                  CAUSE
        1       words-00000001  ran before           2026-01-02T03:04:05Z  change 1
        2       words-00000002  failed, WorkersFail  2026-01-02T03:04:05Z  change 2
        3       words-00000003  runs                 2026-01-02T03:04:05Z  change 3
        4       words-00000004  wanted               2026-01-02T03:04:05Z  change 4
        ");
    }
}

//! What is to be known of the workers' pods.
//!
//! Owns: reading a pod, and saying in a sentence why it does not run. Pure.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ContainerState, Pod};
use waterspout_core::epoch::pod_uid;

use crate::owned::REVISION_LABEL;

/// A worker's pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodView {
    pub(crate) name: String,
    pub(crate) revision: String,
    pub(crate) index: u32,
    /// As plans name it.
    pub(crate) uid: u64,
    pub(crate) ip: Option<IpAddr>,
    /// Its container was started.
    pub(crate) is_running: bool,
    pub(crate) is_ready: bool,
    pub(crate) is_ending: bool,
    /// Why it does not run.
    pub(crate) trouble: Option<Trouble>,
}

/// Why workers do not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) reason: Reason,
    pub(crate) message: String,
}

/// In a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// The image cannot be had.
    ImageUnavailable,
    /// No node takes the pod.
    Unschedulable,
    /// The API server refuses the pod: a quota, a policy.
    PodsRefused,
    /// What the spec says of the pod names something that is not there.
    SettingsMissing,
    /// The worker's container ends again and again.
    WorkersFail,
}

impl Reason {
    /// As a condition's reason.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::ImageUnavailable => "ImageUnavailable",
            Self::Unschedulable => "Unschedulable",
            Self::PodsRefused => "PodsRefused",
            Self::SettingsMissing => "SettingsMissing",
            Self::WorkersFail => "WorkersFail",
        }
    }
}

/// The most characters of what the cluster says that go into a condition.
const MAX_QUOTE: usize = 600;

/// What of it somebody will read.
pub(crate) fn quote(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(MAX_QUOTE) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

impl PodView {
    /// Reads a pod. `None` if it is no worker's.
    pub(crate) fn read(pod: &Pod) -> Option<Self> {
        let name = pod.metadata.name.clone()?;
        let status = pod.status.clone().unwrap_or_default();
        let condition = |kind: &str| {
            let conditions = status.conditions.iter().flatten();
            conditions
                .filter(|condition| condition.type_ == kind)
                .map(|condition| condition.status == "True")
                .next()
                .unwrap_or(false)
        };
        let container = status.container_statuses.iter().flatten().next();
        let is_running = container
            .and_then(|container| container.state.as_ref())
            .is_some_and(|state| state.running.is_some());
        Some(Self {
            revision: pod.metadata.labels.as_ref()?.get(REVISION_LABEL)?.clone(),
            index: name.rsplit_once('-')?.1.parse().ok()?,
            uid: pod_uid(pod.metadata.uid.as_deref()?),
            ip: status.pod_ip.as_deref().and_then(|ip| ip.parse().ok()),
            is_running,
            is_ready: condition("Ready"),
            is_ending: pod.metadata.deletion_timestamp.is_some(),
            trouble: trouble(&name, pod),
            name,
        })
    }

    /// Whether its worker can take part.
    pub(crate) fn is_live(&self) -> bool {
        self.is_running && self.is_ready && !self.is_ending
    }
}

fn trouble(name: &str, pod: &Pod) -> Option<Trouble> {
    let status = pod.status.as_ref()?;
    let unschedulable = status.conditions.iter().flatten().find(|condition| {
        condition.type_ == "PodScheduled"
            && condition.status == "False"
            && condition.reason.as_deref() == Some("Unschedulable")
    });
    if let Some(condition) = unschedulable {
        let why = quote(condition.message.as_deref().unwrap_or("no node fits"));
        return Some(Trouble {
            reason: Reason::Unschedulable,
            message: format!(
                "no node takes pod '{name}': {why}; add a node, free one, or ask for fewer workers"
            ),
        });
    }
    let container = status.container_statuses.iter().flatten().next()?;
    let ended = |state: &ContainerState| {
        let ended = state.terminated.as_ref()?;
        let said = ended.message.as_deref().map(quote).unwrap_or_default();
        let code = ended.exit_code;
        Some(if said.is_empty() {
            format!("exit code {code}")
        } else {
            format!("exit code {code}: {said}")
        })
    };
    let state = container.state.as_ref()?;
    let last = container.last_state.as_ref().and_then(ended);
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.as_deref().unwrap_or_default();
        let image = [
            "ErrImagePull",
            "ImagePullBackOff",
            "ErrImageNeverPull",
            "InvalidImageName",
        ];
        if image.contains(&reason) {
            let why = quote(waiting.message.as_deref().unwrap_or(reason));
            return Some(Trouble {
                reason: Reason::ImageUnavailable,
                message: format!(
                    "pod '{name}' cannot get image '{}': {why}; name an image that the nodes can pull",
                    container.image
                ),
            });
        }
        if reason == "CrashLoopBackOff" || last.is_some() {
            return Some(failing(name, last.as_deref().unwrap_or(reason)));
        }
        if reason == "CreateContainerConfigError" {
            let why = quote(waiting.message.as_deref().unwrap_or(reason));
            return Some(Trouble {
                reason: Reason::SettingsMissing,
                message: format!(
                    "pod '{name}' waits for what 'spec.workers.template.env' names: {why}; make it, or name another one"
                ),
            });
        }
        if reason == "CreateContainerError" || reason == "RunContainerError" {
            let why = quote(waiting.message.as_deref().unwrap_or(reason));
            return Some(failing(name, &why));
        }
        return None;
    }
    ended(state).map(|why| failing(name, &why))
}

fn failing(name: &str, why: &str) -> Trouble {
    Trouble {
        reason: Reason::WorkersFail,
        message: format!("the worker of pod '{name}' ended ({why}); see `kubectl logs {name} --previous`"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(status: serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "words-1a2b3c4d-1", "uid": "u", "labels": {REVISION_LABEL: "1a2b3c4d"}},
            "status": status,
        }))
        .expect("a pod")
    }

    #[test]
    fn the_sentence_says_what_to_do() {
        let waiting = |reason: &str, message: &str| {
            json!({"containerStatuses": [{
                "name": "worker", "image": "a/b:1", "imageID": "", "ready": false, "restartCount": 1,
                "state": {"waiting": {"reason": reason, "message": message}},
                "lastState": if reason == "CrashLoopBackOff" {
                    json!({"terminated": {"exitCode": 78, "message": "error: no plan"}})
                } else { json!({}) },
            }]})
        };
        let cases = [
            (
                waiting("ImagePullBackOff", "not found"),
                Some((
                    Reason::ImageUnavailable,
                    "cannot get image 'a/b:1': not found; name an image",
                )),
            ),
            (
                waiting("CrashLoopBackOff", "back-off 10s"),
                Some((Reason::WorkersFail, "ended (exit code 78: error: no plan)")),
            ),
            (
                waiting("CreateContainerConfigError", "secret \"keys\" not found"),
                Some((
                    Reason::SettingsMissing,
                    "names: secret \"keys\" not found; make it",
                )),
            ),
            (waiting("ContainerCreating", ""), None),
            (
                json!({"conditions": [{
                    "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes"
                }]}),
                Some((
                    Reason::Unschedulable,
                    "no node takes pod 'words-1a2b3c4d-1': 0/2 nodes;",
                )),
            ),
        ];
        for (status, expected) in cases {
            let view = PodView::read(&pod(status)).expect("it is a worker's");
            match (view.trouble, expected) {
                (None, None) => {}
                (Some(found), Some((reason, message))) => {
                    assert_eq!(found.reason, reason);
                    assert!(found.message.contains(message), "{}", found.message);
                }
                (found, expected) => panic!("{found:?} in place of {expected:?}"),
            }
        }
    }

    #[test]
    fn a_pod_is_live_when_it_is_ready_and_stays() {
        let ready = json!({
            "podIP": "10.0.0.7",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{
                "name": "worker", "image": "a/b:1", "imageID": "", "ready": true, "restartCount": 0,
                "state": {"running": {}},
            }],
        });
        let mut view = PodView::read(&pod(ready)).expect("it is a worker's");
        assert_eq!(
            (view.index, view.is_live(), view.trouble.clone()),
            (1, true, None)
        );
        view.is_ending = true;
        assert!(!view.is_live());
    }
}

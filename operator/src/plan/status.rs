//! What a topology's status says.
//!
//! Owns: state, conditions and their reasons, and which changes are worth an Event. Leaves to others: writing it
//! ([`crate::apply`]). Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use waterspout_api::resource::{
    ComponentStatus, FailedRevision, ReleasePhase, ReleaseStatus, RevisionStatus, TopologyState,
    TopologyStatus,
};

/// How a topology stands.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standing {
    pub(crate) generation: Option<i64>,
    /// Why the spec cannot run.
    pub(crate) rejected: Option<(&'static str, String)>,
    pub(crate) wanted: i32,
    pub(crate) workers: i32,
    pub(crate) ready: i32,
    pub(crate) selector: Option<String>,
    /// The newest epoch that is known to be started; 0 if none is.
    pub(crate) started: u64,
    /// The epoch of the plan; 0 if there is none.
    pub(crate) epoch: u64,
    pub(crate) complete: bool,
    /// The spec says that the spouts rest.
    pub(crate) paused: bool,
    /// What goes on: a reason and a sentence.
    pub(crate) progress: Option<(&'static str, String)>,
    /// Why workers do not run, or a component does not.
    pub(crate) trouble: Option<(String, String)>,
    pub(crate) components: Vec<ComponentStatus>,
    pub(crate) revision: Option<RevisionStatus>,
    pub(crate) release: Option<ReleaseStatus>,
    pub(crate) failed: Vec<FailedRevision>,
    /// Why the revision that the spec asks for is not tried.
    pub(crate) held_back: Option<String>,
    /// What is to be told beside what the conditions tell.
    pub(crate) notices: Vec<Notice>,
}

/// Something that people should see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) is_warning: bool,
    pub(crate) reason: String,
    pub(crate) note: String,
    /// The component that it is about. What is about others is told apart.
    pub(crate) about: Option<String>,
}

/// The status, and what is new in it.
pub(crate) fn status(
    standing: &Standing,
    before: Option<&TopologyStatus>,
    now: Timestamp,
) -> (TopologyStatus, Vec<Notice>) {
    let known = before.map_or(&[][..], |before| &before.conditions);
    let wanted: [Wanted<'_>; 6] = [
        accepted(standing),
        ready(standing),
        progressing(standing),
        degraded(standing),
        paused(standing),
        completed(standing),
    ];
    let mut notices = standing.notices.clone();
    let mut conditions = Vec::new();
    for (kind, is_true, reason, message) in wanted {
        let status = if is_true { "True" } else { "False" };
        let old = known.iter().find(|old| old.type_ == kind);
        let changed = old.is_none_or(|old| old.status != status || old.reason != reason);
        if changed && let Some(notice) = notice(kind, is_true, reason, &message) {
            notices.push(notice);
        }
        let since = old
            .filter(|old| old.status == status)
            .map_or(Time(now), |old| old.last_transition_time.clone());
        conditions.push(Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            last_transition_time: since,
            observed_generation: standing.generation,
        });
    }
    let epoch = standing.started.max(
        before
            .and_then(|before| before.epoch)
            .and_then(|epoch| u64::try_from(epoch).ok())
            .unwrap_or(0),
    );
    let status = TopologyStatus {
        observed_generation: standing.generation,
        state: Some(state(standing)),
        replicas: Some(standing.workers),
        ready_replicas: Some(standing.ready),
        selector: standing.selector.clone(),
        epoch: i64::try_from(epoch).ok().filter(|&epoch| epoch > 0),
        revision: standing.revision.clone(),
        release: standing.release.clone(),
        failed_revisions: standing.failed.clone(),
        components: standing.components.clone(),
        conditions,
    };
    (status, notices)
}

impl Standing {
    /// Whether its newest plan runs.
    pub(crate) fn runs(&self) -> bool {
        self.epoch > 0 && self.started >= self.epoch
    }

    fn is_whole(&self) -> bool {
        self.ready >= self.wanted && self.workers == self.wanted
    }
}

fn state(standing: &Standing) -> TopologyState {
    if standing.complete {
        TopologyState::Complete
    } else if standing.paused && standing.runs() {
        TopologyState::Paused
    } else if standing.started > 0 && standing.epoch > 0 {
        TopologyState::Running
    } else if standing.rejected.is_some() {
        TopologyState::Failed
    } else {
        TopologyState::Pending
    }
}

/// Whether the spouts rest while one revision hands over to another.
pub(super) fn is_handing_over(release: &ReleaseStatus) -> bool {
    !matches!(release.phase, ReleasePhase::Opening | ReleasePhase::Probation)
}

type Wanted<'a> = (&'static str, bool, &'a str, String);

fn accepted(standing: &Standing) -> Wanted<'_> {
    match &standing.rejected {
        Some((reason, message)) => ("Accepted", false, reason, message.clone()),
        None => ("Accepted", true, "Valid", "the topology can run".to_owned()),
    }
}

fn ready(standing: &Standing) -> Wanted<'_> {
    let (ready, wanted) = (standing.ready, standing.wanted);
    if standing.complete {
        let message = "all input is processed".to_owned();
        return ("Ready", true, "Complete", message);
    }
    if let Some((reason, message)) = &standing.rejected
        && standing.epoch == 0
    {
        return ("Ready", false, reason, message.clone());
    }
    if let Some((reason, message)) = standing.trouble.as_ref().filter(|_| !standing.is_whole()) {
        return ("Ready", false, reason, message.clone());
    }
    if !standing.is_whole() {
        let message = format!("{ready} of {wanted} workers are ready");
        return ("Ready", false, "WaitingForWorkers", message);
    }
    if !standing.runs() {
        let message = "the workers are there, and carry out the plan".to_owned();
        return ("Ready", false, "Starting", message);
    }
    let message = match &standing.rejected {
        Some(_) => format!("{ready} of {wanted} workers run what was accepted before"),
        None => format!("{ready} of {wanted} workers are ready, and the newest plan runs"),
    };
    ("Ready", true, "Running", message)
}

fn progressing(standing: &Standing) -> Wanted<'_> {
    if let Some((reason, message)) = &standing.progress {
        return ("Progressing", true, reason, message.clone());
    }
    if let Some(message) = &standing.held_back {
        return ("Progressing", false, "RolledBack", message.clone());
    }
    if standing.complete {
        return (
            "Progressing",
            false,
            "Complete",
            "nothing is left to do".to_owned(),
        );
    }
    if standing.rejected.is_none() && !standing.runs() {
        let message = format!("epoch {} is being started", standing.epoch);
        return ("Progressing", true, "StartingEpoch", message);
    }
    (
        "Progressing",
        false,
        "AsPlanned",
        "nothing is being changed".to_owned(),
    )
}

fn degraded(standing: &Standing) -> Wanted<'_> {
    match &standing.trouble {
        Some((reason, message)) => ("Degraded", true, reason, message.clone()),
        None => (
            "Degraded",
            false,
            "NoTrouble",
            "no worker is in trouble".to_owned(),
        ),
    }
}

fn paused(standing: &Standing) -> Wanted<'_> {
    if !standing.paused || standing.complete {
        return ("Paused", false, "NotPaused", "the spouts may run".to_owned());
    }
    if standing.runs() {
        let message = "the spouts rest, and what was in flight is worked off".to_owned();
        return ("Paused", true, "AsTheSpecSays", message);
    }
    let message = "the spouts are about to rest".to_owned();
    ("Paused", false, "Pausing", message)
}

fn completed(standing: &Standing) -> Wanted<'_> {
    if standing.complete {
        let message = "all spouts have ended, and all their tuples are processed".to_owned();
        ("Complete", true, "AllProcessed", message)
    } else {
        (
            "Complete",
            false,
            "NotComplete",
            "the topology is at work".to_owned(),
        )
    }
}

/// The Event about a condition that changed. Most changes are in the conditions for whoever looks.
fn notice(kind: &str, is_true: bool, reason: &str, message: &str) -> Option<Notice> {
    let is_warning = match (kind, is_true) {
        ("Accepted", false) | ("Degraded", true) => true,
        ("Ready", true) if reason == "Running" => false,
        ("Complete", true) => false,
        _ => return None,
    };
    Some(Notice {
        is_warning,
        reason: reason.to_owned(),
        note: message.to_owned(),
        about: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> Standing {
        Standing {
            generation: Some(3),
            wanted: 2,
            workers: 2,
            ready: 2,
            started: 4,
            epoch: 4,
            ..Standing::default()
        }
    }

    fn seen(standing: &Standing) -> (TopologyState, Vec<(String, String)>) {
        let (status, _) = status(standing, None, Timestamp::UNIX_EPOCH);
        let conditions = status.conditions.into_iter();
        (
            status.state.expect("there is one"),
            conditions
                .map(|condition| {
                    (
                        format!("{}={}", condition.type_, condition.status),
                        condition.reason,
                    )
                })
                .collect(),
        )
    }

    #[test]
    fn how_a_topology_stands_is_said_in_conditions() {
        let trouble = Some(("ImageUnavailable".to_owned(), "no image".to_owned()));
        let rejected = Some(("InvalidGraph", "no such component".to_owned()));
        let cases = [
            (
                running(),
                TopologyState::Running,
                ["True Valid", "True Running", "False AsPlanned", "False NoTrouble"],
            ),
            (
                Standing {
                    ready: 1,
                    ..running()
                },
                TopologyState::Running,
                [
                    "True Valid",
                    "False WaitingForWorkers",
                    "False AsPlanned",
                    "False NoTrouble",
                ],
            ),
            (
                Standing {
                    epoch: 5,
                    ..running()
                },
                TopologyState::Running,
                [
                    "True Valid",
                    "False Starting",
                    "True StartingEpoch",
                    "False NoTrouble",
                ],
            ),
            (
                Standing {
                    ready: 0,
                    started: 0,
                    epoch: 0,
                    trouble,
                    ..running()
                },
                TopologyState::Pending,
                [
                    "True Valid",
                    "False ImageUnavailable",
                    "True StartingEpoch",
                    "True ImageUnavailable",
                ],
            ),
            (
                Standing {
                    started: 0,
                    epoch: 0,
                    rejected: rejected.clone(),
                    ..running()
                },
                TopologyState::Failed,
                [
                    "False InvalidGraph",
                    "False InvalidGraph",
                    "False AsPlanned",
                    "False NoTrouble",
                ],
            ),
            (
                Standing {
                    rejected,
                    ..running()
                },
                TopologyState::Running,
                [
                    "False InvalidGraph",
                    "True Running",
                    "False AsPlanned",
                    "False NoTrouble",
                ],
            ),
            (
                Standing {
                    paused: true,
                    ..running()
                },
                TopologyState::Paused,
                ["True Valid", "True Running", "False AsPlanned", "False NoTrouble"],
            ),
            (
                Standing {
                    complete: true,
                    ..running()
                },
                TopologyState::Complete,
                ["True Valid", "True Complete", "False Complete", "False NoTrouble"],
            ),
        ];
        for (standing, state, expected) in cases {
            let (found, conditions) = seen(&standing);
            assert_eq!(found, state, "{standing:?}");
            let kinds = ["Accepted", "Ready", "Progressing", "Degraded"];
            for ((kind, expected), (condition, reason)) in kinds.iter().zip(expected).zip(conditions) {
                let (status, wanted) = expected.split_once(' ').expect("two words");
                assert_eq!(
                    (condition, reason),
                    (format!("{kind}={status}"), wanted.to_owned()),
                    "{standing:?}"
                );
            }
        }
    }

    #[test]
    fn an_unchanged_condition_keeps_its_time_and_makes_no_notice() {
        let later = Timestamp::from_second(100).expect("a time");
        let (first, notices) = status(&running(), None, Timestamp::UNIX_EPOCH);
        assert_eq!(notices.len(), 1);
        let (second, notices) = status(&running(), Some(&first), later);
        assert_eq!((&second, notices.len()), (&first, 0));
        let worse = Standing {
            ready: 1,
            ..running()
        };
        let (third, _) = status(&worse, Some(&second), later);
        assert_eq!(third.conditions[1].last_transition_time.0, later);
        assert_eq!(third.conditions[0].last_transition_time.0, Timestamp::UNIX_EPOCH);
    }

    #[test]
    fn the_epoch_in_the_status_never_falls() {
        let (before, _) = status(&running(), None, Timestamp::UNIX_EPOCH);
        let unheard = Standing {
            started: 0,
            ..running()
        };
        let (after, _) = status(&unheard, Some(&before), Timestamp::UNIX_EPOCH);
        assert_eq!(after.epoch, Some(4));
    }
}

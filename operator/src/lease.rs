//! Which of several operators looks after the topologies: the one that holds the Lease.
//!
//! Owns: taking the Lease, keeping it, giving it back. Leaves to others: what its holder does ([`crate::controller`]).
//!
//! ```text
//!  look (every second) ──free, or unchanged for its whole duration──> take ──> renew (every 2 s) ──told to end──> give back
//!    ^                                                                  │            │
//!    └──────── another one was faster ──────────────────────────────────┘            └── not renewed for 6 s: the process ends
//! ```
//!
//! Invariants: no clocks of two machines are compared. Who waits counts from when it saw the Lease change, which is after
//! the holder began to write it; who holds it counts from before it began to write. So the holder has ended before another
//! one takes over. Each write is in the place of what was read, so one of two who want it gets it.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease as Object, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, ResourceExt};
use thiserror::Error;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::controller::chain;
use crate::owned::MANAGER;

/// For how long a holder that says nothing is believed to be there.
const DURATION: Duration = Duration::from_secs(8);
/// The holder ends if it has not renewed its Lease for so long.
const GIVE_UP: Duration = Duration::from_secs(6);
const RENEW_EVERY: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest duration in a Lease that is respected: a typing error does not stop all operators.
const LONGEST: Duration = Duration::from_secs(60);

/// Why the Lease is not ours any more.
#[derive(Debug, Error)]
pub(crate) enum LostLease {
    /// Somebody else has it.
    #[error("lease '{lease}' was taken by '{holder}'; it looks after the topologies now")]
    Taken { lease: String, holder: String },
    /// It could not be renewed in time.
    #[error("lease '{lease}' was not renewed for {} s: {problem}", GIVE_UP.as_secs())]
    NotRenewed { lease: String, problem: String },
}

/// A Lease that this process would like to hold.
pub(crate) struct Candidate {
    leases: Api<Object>,
    name: String,
    /// Of this process alone: another one in the same pod is somebody else.
    identity: String,
}

/// The Lease, held.
pub(crate) struct Held {
    candidate: Candidate,
    object: Object,
    /// When the newest renewal was begun.
    renewed: Instant,
}

impl Candidate {
    /// Of a process in this pod, for the Lease of this name.
    pub(crate) fn new(client: Client, namespace: &str, name: &str, pod: &str) -> Self {
        Self {
            leases: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity: format!("{pod}/{:016x}", rand::random::<u64>()),
        }
    }

    /// Waits until the Lease is held, and tells each time that the API server answers.
    pub(crate) async fn take(self, answered: impl Fn()) -> Held {
        let mut watch = Watch::default();
        let mut holder = None;
        loop {
            let began = Instant::now();
            match timeout_at(began + PATIENCE, self.look(&mut watch, &mut holder)).await {
                Ok(Ok(Some(object))) => {
                    tracing::info!(
                        lease = self.name,
                        identity = self.identity,
                        "this operator leads now"
                    );
                    return Held {
                        candidate: self,
                        object,
                        renewed: began,
                    };
                }
                Ok(Ok(None)) => answered(),
                Ok(Err(error)) => tracing::warn!(lease = self.name, "take the lease: {}", chain(&error)),
                Err(_) => tracing::warn!(
                    lease = self.name,
                    "take the lease: the API server does not answer"
                ),
            }
            sleep_until(began + LOOK_EVERY).await;
        }
    }

    /// Takes the Lease if it is to be had.
    async fn look(
        &self,
        watch: &mut Watch,
        holder: &mut Option<String>,
    ) -> Result<Option<Object>, kube::Error> {
        let there = self.leases.get_opt(&self.name).await?;
        if !watch.is_free(there.as_ref(), Instant::now()) {
            let now = there.as_ref().and_then(holder_of);
            if *holder != now {
                tracing::info!(lease = self.name, holder = now, "another operator leads");
                *holder = now;
            }
            return Ok(None);
        }
        let how = how();
        let taken = match there {
            Some(there) => {
                let next = taken(there, &self.identity, Timestamp::now());
                self.leases.replace(&self.name, &how, &next).await
            }
            None => {
                let first = Object {
                    metadata: ObjectMeta {
                        name: Some(self.name.clone()),
                        ..ObjectMeta::default()
                    },
                    spec: None,
                };
                let next = taken(first, &self.identity, Timestamp::now());
                self.leases.create(&how, &next).await
            }
        };
        match taken {
            Ok(object) => Ok(Some(object)),
            // Another one was faster.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Held {
    /// Renews the Lease as long as that can be done.
    pub(crate) async fn keep(&mut self) -> LostLease {
        loop {
            sleep_until(self.renewed + RENEW_EVERY).await;
            let deadline = self.renewed + GIVE_UP;
            let mut problem = "the API server does not answer".to_owned();
            loop {
                let began = Instant::now();
                match timeout_at(deadline.min(began + PATIENCE), self.renew()).await {
                    Ok(Ok(Renewal::Done)) => {
                        self.renewed = began;
                        break;
                    }
                    Ok(Ok(Renewal::Taken(holder))) => {
                        return LostLease::Taken {
                            lease: self.candidate.name.clone(),
                            holder,
                        };
                    }
                    Ok(Err(error)) => problem = chain(&error),
                    Err(_) => {}
                }
                if Instant::now() >= deadline {
                    return LostLease::NotRenewed {
                        lease: self.candidate.name.clone(),
                        problem,
                    };
                }
                tracing::warn!(lease = self.candidate.name, "renew the lease: {problem}");
                sleep_until(deadline.min(began + LOOK_EVERY)).await;
            }
        }
    }

    async fn renew(&mut self) -> Result<Renewal, kube::Error> {
        let Candidate {
            leases,
            name,
            identity,
        } = &self.candidate;
        let mut next = self.object.clone();
        if let Some(spec) = &mut next.spec {
            spec.renew_time = Some(MicroTime(Timestamp::now()));
        }
        match leases.replace(name, &how(), &next).await {
            Ok(object) => {
                self.object = object;
                Ok(Renewal::Done)
            }
            Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => {
                // Somebody wrote in between: another operator, a person, or this one with an answer that was lost.
                let there = leases.get_opt(name).await?;
                match there {
                    Some(there) if holder_of(&there).as_deref() == Some(identity) => {
                        self.object = there;
                        Err(kube::Error::Api(status))
                    }
                    there => Ok(Renewal::Taken(
                        there
                            .as_ref()
                            .and_then(holder_of)
                            .unwrap_or_else(|| "nobody".to_owned()),
                    )),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Gives the Lease back, so that another operator need not wait.
    pub(crate) async fn give_back(self) {
        let Candidate { leases, name, .. } = &self.candidate;
        let mut free = self.object;
        if let Some(spec) = &mut free.spec {
            spec.holder_identity = None;
            spec.renew_time = Some(MicroTime(Timestamp::now()));
        }
        match timeout_at(Instant::now() + PATIENCE, leases.replace(name, &how(), &free)).await {
            Ok(Ok(_)) => tracing::info!(lease = name, "gave the lease back"),
            Ok(Err(error)) => tracing::warn!(lease = name, "give the lease back: {}", chain(&error)),
            Err(_) => tracing::warn!(
                lease = name,
                "give the lease back: the API server does not answer"
            ),
        }
    }
}

enum Renewal {
    Done,
    Taken(String),
}

/// What was seen of a Lease that somebody else holds: which version, and since when.
#[derive(Debug, Default)]
struct Watch {
    seen: Option<(String, Instant)>,
}

impl Watch {
    /// Whether nobody holds the Lease, or its holder has not renewed it for its whole duration.
    fn is_free(&mut self, lease: Option<&Object>, now: Instant) -> bool {
        let Some(lease) = lease else {
            return true;
        };
        if holder_of(lease).is_none() {
            return true;
        }
        let version = lease.resource_version().unwrap_or_default();
        match &self.seen {
            Some((seen, since)) if *seen == version => now - *since >= duration_of(lease),
            _ => {
                self.seen = Some((version, now));
                false
            }
        }
    }
}

fn how() -> PostParams {
    PostParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PostParams::default()
    }
}

fn holder_of(lease: &Object) -> Option<String> {
    let holder = lease.spec.as_ref()?.holder_identity.clone()?;
    (!holder.is_empty()).then_some(holder)
}

fn duration_of(lease: &Object) -> Duration {
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
    let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok());
    seconds.map_or(DURATION, |seconds| {
        Duration::from_secs(seconds).clamp(DURATION, LONGEST)
    })
}

/// The Lease in the hand of another one.
fn taken(mut lease: Object, identity: &str, now: Timestamp) -> Object {
    let before = lease.spec.take();
    let transitions = before.map_or(0, |spec| spec.lease_transitions.unwrap_or(0).saturating_add(1));
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: Some(DURATION.as_secs() as i32),
        acquire_time: Some(MicroTime(now)),
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(transitions),
        ..LeaseSpec::default()
    });
    lease
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(version: &str, holder: Option<&str>, seconds: i32) -> Object {
        Object {
            metadata: ObjectMeta {
                resource_version: Some(version.to_owned()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: holder.map(str::to_owned),
                lease_duration_seconds: Some(seconds),
                // Whatever its holder's clock says.
                renew_time: Some(MicroTime(Timestamp::UNIX_EPOCH)),
                lease_transitions: Some(4),
                ..LeaseSpec::default()
            }),
        }
    }

    #[test]
    fn a_lease_of_nobody_is_free_at_once() {
        let now = Instant::now();
        assert!(Watch::default().is_free(None, now));
        assert!(Watch::default().is_free(Some(&lease("1", None, 8)), now));
        assert!(Watch::default().is_free(Some(&lease("1", Some(""), 8)), now));
    }

    #[test]
    fn a_lease_that_was_not_renewed_for_its_duration_since_it_was_first_seen_is_free() {
        let began = Instant::now();
        let at = |seconds: f64| began + Duration::from_secs_f64(seconds);
        let mut watch = Watch::default();
        assert!(!watch.is_free(Some(&lease("1", Some("a"), 8)), at(0.0)));
        assert!(!watch.is_free(Some(&lease("1", Some("a"), 8)), at(7.9)));
        // It was renewed, so the time begins anew.
        assert!(!watch.is_free(Some(&lease("2", Some("a"), 8)), at(8.0)));
        assert!(!watch.is_free(Some(&lease("2", Some("a"), 8)), at(15.9)));
        assert!(watch.is_free(Some(&lease("2", Some("a"), 8)), at(16.0)));
    }

    #[test]
    fn the_duration_that_the_holder_wrote_counts_within_bounds() {
        for (written, seconds) in [(8, 8), (30, 30), (100_000, 60), (1, 8), (-1, 8)] {
            assert_eq!(
                duration_of(&lease("1", Some("a"), written)).as_secs(),
                seconds,
                "{written}"
            );
        }
    }

    #[test]
    fn the_holder_has_ended_before_another_one_may_take_over() {
        let mut watch = Watch::default();
        let renewal = Instant::now();
        // It is seen as soon as it is written, which is not before it is begun.
        watch.is_free(Some(&lease("1", Some("a"), 8)), renewal);
        assert!(!watch.is_free(
            Some(&lease("1", Some("a"), 8)),
            renewal + GIVE_UP + RENEW_EVERY / 2
        ));
    }

    #[test]
    fn who_takes_it_is_counted_and_keeps_the_version_it_read() {
        let now = Timestamp::UNIX_EPOCH;
        let next = taken(lease("7", Some("a"), 30), "b", now);
        assert_eq!(next.metadata.resource_version.as_deref(), Some("7"));
        let spec = next.spec.expect("it has one");
        assert_eq!(spec.holder_identity.as_deref(), Some("b"));
        assert_eq!(spec.lease_transitions, Some(5));
        assert_eq!(spec.lease_duration_seconds, Some(8));
        let first = taken(Object::default(), "a", now);
        assert_eq!(first.spec.expect("it has one").lease_transitions, Some(0));
    }
}

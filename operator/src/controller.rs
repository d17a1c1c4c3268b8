//! Reconciling: observe, plan, apply, status.
//!
//! Owns: the loop, when a topology is looked at again, what is tried again and how soon. Leaves to others: each of the four
//! steps. Invariants: one topology's fault delays no other; what failed is tried again later each time, with jitter, so
//! that a thousand topologies do not come at once.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::StreamExt;
use kube::runtime::Controller;
use kube::runtime::controller::{Action, Config};
use kube::{Client, ResourceExt};
use thiserror::Error;
use waterspout_api::resource::Topology;

use crate::RunArgs;
use crate::apply::{ApplyError, Writer};
use crate::endpoints::{self, Health};
use crate::identity::{Identities, IdentityError};
use crate::lease::{Candidate, Held, LostLease};
use crate::metrics::{Metrics, Outcome};
use crate::observe::{Caches, ObserveError, topologies_of};
use crate::owned::Kind;
use crate::plan::{DecideError, Settings, Traces, decide};

/// How many topologies are looked at at a time.
const CONCURRENCY: u16 = 16;
/// The first pause after a failure; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Why a topology could not be looked after.
#[derive(Debug, Error)]
pub(crate) enum ReconcileError {
    #[error(transparent)]
    Observe(#[from] ObserveError),
    #[error(transparent)]
    Decide(#[from] DecideError),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

struct Reconciler {
    settings: Settings,
    caches: Arc<Caches>,
    writer: Writer,
    /// Nothing if workers talk without TLS.
    identities: Option<Arc<Identities>>,
    health: Arc<Health>,
    /// How often topologies failed in a row.
    failures: Mutex<HashMap<String, u32>>,
}

/// Runs the operator until it is told to end.
pub(crate) async fn run(args: &RunArgs, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    let client = Client::try_default().await.context(
        "find the API server; the operator runs in a pod with a service account, or with a kubeconfig",
    )?;
    let health = Arc::new(Health::new(Metrics::new()));
    let settings = Settings {
        worker_image: args.worker_image.clone(),
        script_worker_image: args.script_worker_image.clone(),
        worker_role: args.worker_role.clone(),
        is_tls: args.authority.is_some(),
        traces: args.worker_traces.clone().map(|endpoint| Traces {
            endpoint,
            one_in: args.worker_trace_one_in,
        }),
    };
    let lifetimes = args.lifetimes().map_err(anyhow::Error::msg)?;
    let identities = args
        .authority
        .clone()
        .map(|place| Arc::new(Identities::new(client.clone(), place, lifetimes)));
    let scopes: Vec<Option<&str>> = if args.namespaces.is_empty() {
        vec![None]
    } else {
        args.namespaces.iter().map(|name| Some(name.as_str())).collect()
    };
    tracing::info!(namespaces = ?args.namespaces, worker_image = args.worker_image, script_worker_image = args.script_worker_image, "the operator is up");
    let served = std::pin::pin!(endpoints::serve(args.http, Arc::clone(&health)));
    let shutdown = std::pin::pin!(shutdown);
    let (mut served, mut shutdown) = (served, shutdown);
    let mut lease = None;
    if let Some((namespace, name)) = &args.lease {
        let candidate = Candidate::new(client.clone(), namespace, name, &args.identity);
        // Who waits for the lease is ready: it can take over.
        let answered = || health.ready.store(true, Ordering::SeqCst);
        tokio::select! {
            held = candidate.take(answered) => lease = Some(held),
            served = &mut served => return served,
            () = &mut shutdown => {
                tracing::info!("told to end");
                return Ok(());
            }
        }
    }
    health.metrics.leads();
    let controllers = scopes.into_iter().map(|scope| {
        look_after(
            &client,
            scope,
            settings.clone(),
            identities.clone(),
            Arc::clone(&health),
        )
    });
    tokio::select! {
        served = &mut served => return served,
        _ = futures::future::join_all(controllers) => return Ok(()),
        lost = keep(lease.as_mut()) => return Err(lost.into()),
        () = &mut shutdown => tracing::info!("told to end"),
    }
    // Nothing is written any more.
    if let Some(lease) = lease {
        lease.give_back().await;
    }
    Ok(())
}

/// Keeps the lease, if there is one. Ends when it is lost: what another operator does now is not to be mixed with.
async fn keep(lease: Option<&mut Held>) -> LostLease {
    match lease {
        Some(lease) => lease.keep().await,
        None => std::future::pending().await,
    }
}

/// Looks after the topologies of a namespace, or of all.
async fn look_after(
    client: &Client,
    scope: Option<&str>,
    settings: Settings,
    identities: Option<Arc<Identities>>,
    health: Arc<Health>,
) {
    let (caches, watches) = Caches::watch(client, scope);
    let caches = Arc::new(caches);
    let reconciler = Arc::new(Reconciler {
        settings,
        caches: Arc::clone(&caches),
        writer: Writer::new(client.clone()),
        identities,
        health: Arc::clone(&health),
        failures: Mutex::default(),
    });
    let known = caches.topologies();
    let mut controller = Controller::for_stream(watches.topologies, caches.topologies())
        .with_config(Config::default().concurrency(CONCURRENCY))
        .watches_stream(watches.config_maps, move |map| topologies_of(&known, &map));
    for changes in watches.changes {
        controller = controller.reconcile_on(changes);
    }
    let looks = controller
        .run(reconcile, again_later, reconciler)
        .for_each(|outcome| async move {
            if let Err(error @ kube::runtime::controller::Error::QueueError(_)) = outcome {
                tracing::warn!("watch the API server: {}", chain(&error));
            }
        });
    let ready = async {
        caches.filled().await;
        health.ready.store(true, Ordering::SeqCst);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = looks => {}
        () = ready => {}
    }
}

async fn reconcile(topology: Arc<Topology>, reconciler: Arc<Reconciler>) -> Result<Action, ReconcileError> {
    let started = Instant::now();
    let outcome = steps(&topology, &reconciler).await;
    let took = started.elapsed().as_secs_f64();
    let metrics = &reconciler.health.metrics;
    match &outcome {
        Ok(_) => {
            reconciler.failures().remove(&key(&topology));
            metrics.reconciled(Outcome::Done, took);
        }
        Err(_) => metrics.reconciled(Outcome::Failed, took),
    }
    outcome
}

/// Observe, plan, apply, status.
async fn steps(topology: &Topology, reconciler: &Reconciler) -> Result<Action, ReconcileError> {
    let Reconciler {
        settings,
        caches,
        writer,
        identities,
        health,
        ..
    } = reconciler;
    if topology.metadata.deletion_timestamp.is_some() {
        // What belongs to it goes with it, whether the operator is there or not.
        return Ok(Action::await_change());
    }
    let world = caches.look(topology).await?;
    let decision = decide(&world, settings)?;
    let first = decision.is_record_first;
    if first {
        writer
            .write_status(topology, &decision.status, true, &health.metrics)
            .await?;
    }
    // What stands in its way does not keep anything else from being done.
    let identified = match identities.as_ref().filter(|_| decision.wants_identity) {
        Some(identities) => {
            let soon = world.pods.iter().any(|pod| !pod.is_running);
            identities.keep(topology, soon, writer, &health.metrics).await
        }
        None => Ok(()),
    };
    // It need not come by a watch to be known.
    let wrote = |kind: &Kind, object| {
        health.metrics.wrote(kind.kind);
        caches.wrote(kind, object);
    };
    let applied = writer.apply(topology, &decision, &health.metrics, &wrote).await;
    if !first {
        writer
            .write_status(topology, &decision.status, false, &health.metrics)
            .await?;
    }
    writer.tell(topology, &decision.notices).await;
    let refused = match (&applied, &identified) {
        (Err(error), _) | (_, Err(IdentityError::Apply(error))) => error.notice(),
        _ => None,
    };
    if let Some(notice) = refused {
        writer.tell(topology, &[notice]).await;
    }
    applied?;
    identified?;
    if decision.is_over {
        writer.delete(topology).await?;
    }
    Ok(Action::requeue(jittered(decision.look_again)))
}

fn again_later(topology: Arc<Topology>, error: &ReconcileError, reconciler: Arc<Reconciler>) -> Action {
    if let ReconcileError::Apply(error) | ReconcileError::Identity(IdentityError::Apply(error)) = error
        && (error.is_conflict() || error.is_end_of_namespace())
    {
        tracing::debug!(topology = key(&topology), "{}", chain(error));
        return Action::requeue(jittered(FIRST_PAUSE));
    }
    let mut failures = reconciler.failures();
    let count = failures.entry(key(&topology)).or_insert(0);
    *count += 1;
    let pause = pause_after(*count);
    tracing::warn!(
        topology = key(&topology),
        failures = *count,
        again_in_seconds = pause.as_secs_f64(),
        "{}",
        chain(error)
    );
    Action::requeue(jittered(pause))
}

impl Reconciler {
    fn failures(&self) -> std::sync::MutexGuard<'_, HashMap<String, u32>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(topology: &Topology) -> String {
    format!(
        "{}/{}",
        topology.namespace().unwrap_or_default(),
        topology.name_any()
    )
}

fn pause_after(failures: u32) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1)));
    doubled.min(LONGEST_PAUSE)
}

/// A fifth more or less, by chance.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.8..1.2))
}

/// An error and its causes as one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute() {
        let pauses: Vec<u64> = [1, 2, 3, 7, 8, 100]
            .map(|count| pause_after(count).as_millis() as u64)
            .to_vec();
        assert_eq!(pauses, [500, 1_000, 2_000, 32_000, 60_000, 60_000]);
        let pause = jittered(Duration::from_secs(10));
        assert!((8.0..12.0).contains(&pause.as_secs_f64()));
    }
}

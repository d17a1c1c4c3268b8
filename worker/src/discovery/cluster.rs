//! Discovery in a cluster: the plan from a ConfigMap, the other workers from EndpointSlices.
//!
//! Owns: the two watches, and the last answer on the volume. Leaves to others: who writes the plan (the operator).
//! Invariants: an answer that cannot be used changes nothing; with the API server away the last answer holds, also for
//! the next process in this pod.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::runtime::{WatchStreamExt, watcher};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use waterspout_core::placement::WorkerIndex;
use waterspout_core::plan::{ParsedPlan, Plan};

use crate::volume::{Volume, VolumeError};

/// The key of the ConfigMap that holds the plan.
pub const PLAN_KEY: &str = "plan.json";
/// The name of the port that workers connect to.
const DATA_PORT: &str = "data";
/// The label of an EndpointSlice that names its Service.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";
/// A watch that says nothing for so long, in seconds, is begun anew: a dead connection is found no other way.
const WATCH_SECONDS: u32 = 60;
const PLAN_FILE: &str = "plan.json";
const PEERS_FILE: &str = "peers.json";

/// Where in the cluster a worker looks.
#[derive(Debug, Clone)]
pub struct Place {
    /// The namespace of all of it.
    pub namespace: String,
    /// The ConfigMap with the plan.
    pub config_map: String,
    /// The headless Service of the workers.
    pub service: String,
}

/// Why a worker cannot look into its cluster.
#[derive(Debug, Error)]
pub enum ClusterError {
    /// There is no service account.
    #[error("find the API server; a worker with --config-map runs in a pod with a service account")]
    FindServer(#[source] Box<kube::config::InClusterError>),
    /// The client cannot be made.
    #[error("make a client for the API server")]
    MakeClient(#[source] Box<kube::Error>),
    /// The last answers cannot be read.
    #[error(transparent)]
    Volume(#[from] VolumeError),
}

/// Where workers listen, by index.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct Addresses(BTreeMap<WorkerIndex, SocketAddr>);

/// What is known of the cluster, kept up to date.
#[derive(Debug)]
pub struct Cluster {
    plan: watch::Receiver<Option<Arc<Plan>>>,
    peers: watch::Receiver<Addresses>,
    /// Ends the watches with this.
    _watches: JoinSet<()>,
}

impl Cluster {
    /// Begins with what a process before this one knew, and watches from now on.
    ///
    /// # Errors
    /// If there is no service account, or the volume cannot be read.
    pub fn watch(place: &Place, volume: &Volume) -> Result<Self, ClusterError> {
        let config = kube::Config::incluster().map_err(|error| ClusterError::FindServer(Box::new(error)))?;
        let client =
            kube::Client::try_from(config).map_err(|error| ClusterError::MakeClient(Box::new(error)))?;
        let (plan_sender, mut plan) = watch::channel(volume.read::<Plan>(PLAN_FILE)?.map(Arc::new));
        plan.mark_changed();
        let (peers_sender, peers) = watch::channel(volume.read::<Addresses>(PEERS_FILE)?.unwrap_or_default());
        let mut watches = JoinSet::new();
        watches.spawn(watch_plan(
            Api::namespaced(client.clone(), &place.namespace),
            place.config_map.clone(),
            volume.clone(),
            plan_sender,
        ));
        watches.spawn(watch_peers(
            Api::namespaced(client, &place.namespace),
            place.service.clone(),
            volume.clone(),
            peers_sender,
        ));
        Ok(Self {
            plan,
            peers,
            _watches: watches,
        })
    }

    /// See [`super::Discovery::new_plan`].
    pub(super) fn new_plan(&mut self) -> Option<ParsedPlan> {
        // The watches end with this, so the senders are there.
        if !self.plan.has_changed().unwrap_or(false) {
            return None;
        }
        let plan = self.plan.borrow_and_update().clone()?;
        ParsedPlan::new((*plan).clone())
            .inspect_err(|error| tracing::error!("the kept plan: {error}"))
            .ok()
    }

    /// See [`super::Discovery::find`].
    pub(super) fn find(&self, worker: WorkerIndex) -> Option<SocketAddr> {
        self.peers.borrow().0.get(&worker).copied()
    }
}

async fn watch_plan(
    api: Api<ConfigMap>,
    name: String,
    volume: Volume,
    plan: watch::Sender<Option<Arc<Plan>>>,
) {
    let config = watcher::Config::default()
        .fields(&format!("metadata.name={name}"))
        .timeout(WATCH_SECONDS);
    let mut maps = std::pin::pin!(watcher(api, config).default_backoff().applied_objects());
    while let Some(map) = maps.next().await {
        let map = match map {
            Ok(map) => map,
            Err(error) => {
                tracing::warn!(
                    "watch the ConfigMap '{name}' of the plan: {}",
                    crate::worker::chain(&error)
                );
                continue;
            }
        };
        let text = map.data.as_ref().and_then(|data| data.get(PLAN_KEY));
        let Some(text) = text else {
            tracing::error!("the ConfigMap '{name}' has no key '{PLAN_KEY}'; the operator writes it anew");
            continue;
        };
        match ParsedPlan::from_json(text.as_bytes()) {
            Ok(parsed) => {
                let next = parsed.plan();
                let is_new = plan.borrow().as_deref() != Some(next);
                if is_new {
                    keep(&volume, PLAN_FILE, next);
                    plan.send_replace(Some(Arc::new(next.clone())));
                }
            }
            Err(error) => {
                tracing::error!("the plan of ConfigMap '{name}': {}", crate::worker::chain(&error));
            }
        }
    }
}

async fn watch_peers(
    api: Api<EndpointSlice>,
    service: String,
    volume: Volume,
    peers: watch::Sender<Addresses>,
) {
    let config = watcher::Config::default()
        .labels(&format!("{SERVICE_LABEL}={service}"))
        .timeout(WATCH_SECONDS);
    let mut events = std::pin::pin!(watcher(api, config).default_backoff());
    // Several slices make one answer.
    let mut slices: BTreeMap<String, EndpointSlice> = BTreeMap::new();
    let mut listed: BTreeMap<String, EndpointSlice> = BTreeMap::new();
    let name = |slice: &EndpointSlice| slice.metadata.name.clone().unwrap_or_default();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listed.clear(),
            Ok(watcher::Event::InitApply(slice)) => {
                listed.insert(name(&slice), slice);
                continue;
            }
            Ok(watcher::Event::InitDone) => slices = std::mem::take(&mut listed),
            Ok(watcher::Event::Apply(slice)) => {
                slices.insert(name(&slice), slice);
            }
            Ok(watcher::Event::Delete(slice)) => {
                slices.remove(&name(&slice));
            }
            Err(error) => {
                tracing::warn!(
                    "watch the workers of '{service}': {}",
                    crate::worker::chain(&error)
                );
                continue;
            }
        }
        let next = addresses(slices.values());
        // A worker that is not listed is away, and may come back where it was.
        if !next.0.is_empty() && *peers.borrow() != next {
            keep(&volume, PEERS_FILE, &next);
            peers.send_replace(next);
        }
    }
}

fn keep(volume: &Volume, file: &str, value: &impl Serialize) {
    if let Err(error) = volume.write(file, value) {
        // The answer holds; only a next process without the API server would miss it.
        tracing::warn!("keep the last answer: {}", crate::worker::chain(&error));
    }
}

/// Where workers listen. The index is the number at the end of the endpoint's host name; of two endpoints with one name
/// the one that is not about to end counts.
fn addresses<'a>(slices: impl Iterator<Item = &'a EndpointSlice>) -> Addresses {
    let mut found: BTreeMap<WorkerIndex, (bool, SocketAddr)> = BTreeMap::new();
    for slice in slices {
        let port = slice
            .ports
            .iter()
            .flatten()
            .find(|port| port.name.as_deref() == Some(DATA_PORT))
            .and_then(|port| u16::try_from(port.port?).ok());
        let Some(port) = port else { continue };
        for endpoint in &slice.endpoints {
            let ip: Option<IpAddr> = endpoint
                .addresses
                .first()
                .and_then(|address| address.parse().ok());
            let index = endpoint.hostname.as_deref().and_then(index_of);
            let (Some(ip), Some(index)) = (ip, index) else {
                continue;
            };
            let terminating = endpoint
                .conditions
                .as_ref()
                .and_then(|conditions| conditions.terminating);
            let stays = terminating != Some(true);
            let known = found.entry(index).or_insert((stays, SocketAddr::new(ip, port)));
            if stays && !known.0 {
                *known = (stays, SocketAddr::new(ip, port));
            }
        }
    }
    Addresses(
        found
            .into_iter()
            .map(|(index, (_, address))| (index, address))
            .collect(),
    )
}

/// The worker that a pod's name stands for: the number at its end.
pub fn index_of(pod: &str) -> Option<WorkerIndex> {
    pod.rsplit_once('-')?.1.parse().ok().map(WorkerIndex)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort};

    use super::*;

    fn slice(endpoints: &[(&str, &str, bool)]) -> EndpointSlice {
        EndpointSlice {
            address_type: "IPv4".to_owned(),
            endpoints: endpoints
                .iter()
                .map(|&(hostname, address, terminating)| Endpoint {
                    addresses: vec![address.to_owned()],
                    hostname: Some(hostname.to_owned()),
                    conditions: Some(EndpointConditions {
                        terminating: Some(terminating),
                        ..EndpointConditions::default()
                    }),
                    ..Endpoint::default()
                })
                .collect(),
            ports: Some(vec![EndpointPort {
                name: Some(DATA_PORT.to_owned()),
                port: Some(7070),
                ..EndpointPort::default()
            }]),
            ..EndpointSlice::default()
        }
    }

    #[test]
    fn slices_are_joined_and_the_successor_of_a_pod_counts() {
        let first = slice(&[
            ("words-1a2b-0", "10.0.0.1", true),
            ("words-1a2b-1", "10.0.0.2", false),
        ]);
        let second = slice(&[
            ("words-1a2b-0", "10.0.0.3", false),
            ("no-number", "10.0.0.4", false),
        ]);
        let found = addresses([&first, &second].into_iter());
        let expected = [(0, "10.0.0.3:7070"), (1, "10.0.0.2:7070")]
            .map(|(index, address)| (WorkerIndex(index), address.parse().expect("an address")));
        assert_eq!(found.0, BTreeMap::from(expected));
    }
}

//! What is: the watches, and a look at one topology.
//!
//! Owns: the caches of the API server's objects, asking workers, and how long something has been so. Leaves to others:
//! what follows ([`crate::plan`]). Invariant: nothing is decided before every cache is filled once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::stream::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DynamicObject, ListParams};
use kube::core::{NamespaceResourceScope, PartialObjectMeta};
use kube::runtime::reflector::{ObjectRef, Store, store::Writer};
use kube::runtime::{Predicate, WatchStreamExt, predicates, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use thiserror::Error;
use waterspout_api::resource::{ReleasePhase, Topology};
use waterspout_core::plan::ParsedPlan;

use crate::controller::chain;
use crate::keep::{self, Object, Refusal};
use crate::owned::{KINDS, Kind, MANAGED_LABEL, MANAGER, REVISION_LABEL};
use crate::plan::{Contents, Heard, PodView, There, Troubles, World, plans, sources};
use crate::shelf::{Shelf, WATCH_SECONDS};
use crate::workers;

/// How many workers are asked at most.
const ASKED: usize = 3;
/// How often all of them are asked what went wrong, at most.
const ASK_ALL: Duration = Duration::from_secs(3);
/// What is remembered of topologies that were not looked at for so long is dropped.
const FORGET: Duration = Duration::from_secs(3600);

/// Objects that come by, for whoever wants to look when they do.
pub(crate) type Coming<K> = Pin<Box<dyn Stream<Item = Result<K, watcher::Error>> + Send>>;
/// Topologies of which something has changed.
pub(crate) type Changes = Pin<Box<dyn Stream<Item = ObjectRef<Topology>> + Send>>;

/// Why a look failed.
#[derive(Debug, Error)]
pub(crate) enum ObserveError {
    /// A ConfigMap cannot be read.
    #[error("read ConfigMap '{name}'")]
    ReadConfigMap { name: String, source: Box<kube::Error> },
}

/// What the watches of one namespace, or of all, have brought.
pub(crate) struct Caches {
    client: Client,
    topologies: Store<Topology>,
    pods: Arc<Shelf<PodView>>,
    owned: Vec<(&'static Kind, Arc<Shelf<Object>>)>,
    /// Events about pods that the API server refuses.
    refusals: Arc<Shelf<Refusal>>,
    memory: Mutex<HashMap<String, Memory>>,
}

/// The watches themselves, which fill the caches as they are read.
pub(crate) struct Watches {
    pub(crate) topologies: Coming<Topology>,
    /// Of what belongs to topologies.
    pub(crate) changes: Vec<Changes>,
    /// Those of users, of whose scripts some may come.
    pub(crate) config_maps: Coming<PartialObjectMeta<ConfigMap>>,
}

/// Since when something of a topology has been so.
struct Memory {
    asked_all: Option<Instant>,
    away: BTreeMap<(String, u32), Instant>,
    inactive: Option<Instant>,
    looked: Instant,
}

impl Memory {
    fn new(now: Instant) -> Self {
        Self {
            asked_all: None,
            away: BTreeMap::new(),
            inactive: None,
            looked: now,
        }
    }
}

impl Caches {
    /// Begins to watch a namespace, or all.
    pub(crate) fn watch(client: &Client, namespace: Option<&str>) -> (Self, Watches) {
        let ours = || watcher::Config::default().labels(&format!("{MANAGED_LABEL}={MANAGER}"));
        let (topologies, coming) = watch_topologies(api(client, namespace));
        let mut changes: Vec<Changes> = Vec::new();
        let (pods, changed) = Shelf::watch(api::<Pod>(client, namespace), ours(), "pods", keep::pod);
        changes.push(changed.boxed());
        let (refusals, changed) = Shelf::watch(
            api::<Event>(client, namespace),
            watcher::Config::default().fields(keep::REFUSALS),
            "Events",
            keep::refusal,
        );
        changes.push(changed.boxed());
        let mut owned = Vec::new();
        for kind in &KINDS {
            let api = dynamic_api(client, namespace, kind);
            let read = move |object| keep::object(kind, object);
            let (shelf, changed) = Shelf::watch(api, ours(), kind.plural, read);
            owned.push((kind, shelf));
            changes.push(changed.boxed());
        }
        let caches = Self {
            client: client.clone(),
            topologies,
            pods,
            owned,
            refusals,
            memory: Mutex::default(),
        };
        let watches = Watches {
            topologies: coming,
            changes,
            config_maps: watch_config_maps(api(client, namespace)),
        };
        (caches, watches)
    }

    /// The cache of topologies.
    pub(crate) fn topologies(&self) -> Store<Topology> {
        self.topologies.clone()
    }

    /// Waits until every cache was filled once, but for that of the topologies, for which the controller waits.
    pub(crate) async fn filled(&self) {
        self.pods.filled().await;
        self.refusals.filled().await;
        for (_, shelf) in &self.owned {
            shelf.filled().await;
        }
    }

    /// Keeps an object as it was just written.
    pub(crate) fn wrote(&self, kind: &Kind, object: DynamicObject) {
        let version = object.resource_version();
        let known = self.owned.iter().find(|(known, _)| *known == kind);
        if let Some((kind, shelf)) = known
            && let Some(entry) = keep::object(kind, object)
        {
            shelf.wrote(version.as_deref(), entry);
        }
    }

    /// Looks at a topology.
    pub(crate) async fn look<'a>(&self, topology: &'a Topology) -> Result<World<'a>, ObserveError> {
        self.filled().await;
        let name = topology.name_any();
        let namespace = topology.namespace().unwrap_or_default();
        let uid = topology.uid().unwrap_or_default();
        let objects = self.objects(&name, &namespace, &uid);
        let pods = self.pods.of(&namespace, &name);
        let pods: Vec<PodView> = pods.iter().map(|pod| PodView::clone(pod)).collect();
        let written = plans(&objects, &BTreeMap::new());
        let watched = watched(topology);
        let is_time = self.may_ask_all(&uid);
        let mut revisions: Vec<&str> = pods.iter().map(|pod| pod.revision.as_str()).collect();
        revisions.sort_unstable();
        revisions.dedup();
        let asks = revisions.into_iter().map(|revision| {
            let crew: Vec<&PodView> = pods.iter().filter(|pod| pod.revision == revision).collect();
            let plan = written.get(revision);
            let is_watched =
                watched.is_some_and(|watched| watched.strip_prefix(&name) == Some(&format!("-{revision}")));
            async move {
                (
                    revision.to_owned(),
                    hear(&crew, plan, is_time || is_watched).await,
                )
            }
        });
        let heard: BTreeMap<String, Heard> = futures::future::join_all(asks).await.into_iter().collect();
        let config_maps = self.config_maps(&namespace, sources(&topology.spec)).await?;
        let refused = self.refused(&namespace, &name, &objects, &pods);
        let (away, draining) = self.remember(
            &uid,
            topology,
            &pods,
            written.values().any(|plan| !plan.plan().active),
        );
        Ok(World {
            topology,
            plans: plans(&objects, &heard),
            objects,
            pods,
            heard,
            config_maps,
            refused,
            away,
            draining,
            now: Timestamp::now(),
        })
    }

    /// What is in these ConfigMaps, as far as they are there. No cache has all of everybody's.
    async fn config_maps(
        &self,
        namespace: &str,
        names: BTreeSet<String>,
    ) -> Result<BTreeMap<String, Contents>, ObserveError> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let mut found = BTreeMap::new();
        for name in names {
            let same_name = ListParams::default().fields(&format!("metadata.name={name}"));
            let list = api.list(&same_name).await;
            let list = list.map_err(|source| ObserveError::ReadConfigMap {
                name: name.clone(),
                source: Box::new(source),
            })?;
            if let Some(map) = list.items.into_iter().next() {
                found.insert(name, Contents::of(map));
            }
        }
        Ok(found)
    }

    fn objects(&self, name: &str, namespace: &str, owner: &str) -> Vec<There> {
        let of_kind = |(kind, shelf): &(&'static Kind, Arc<Shelf<Object>>)| {
            let kind = *kind;
            let found = shelf.of(namespace, name);
            found
                .into_iter()
                .filter(|object| object.is_of(owner))
                .map(move |object| object.read(kind))
        };
        self.owned.iter().flat_map(of_kind).collect()
    }

    /// Why the API server takes no pod of a StatefulSet that wants more of them.
    fn refused(&self, namespace: &str, name: &str, objects: &[There], pods: &[PodView]) -> Option<String> {
        let lacks = |set: &&There| {
            let wanted = set.body["spec"]["replicas"].as_u64().unwrap_or(0);
            let pods = pods
                .iter()
                .filter(|pod| set.body["metadata"]["labels"][REVISION_LABEL] == pod.revision.as_str());
            // Its controller has looked at it, and yet pods are missing.
            let is_seen = set.body["status"]["observedGeneration"] == set.body["metadata"]["generation"];
            is_seen && (pods.count() as u64) < wanted
        };
        let mut sets = objects
            .iter()
            .filter(|there| there.kind.kind == "StatefulSet" && !there.is_ending);
        let set = sets.find(lacks)?;
        let refusals = self.refusals.of(namespace, name);
        let of_set = refusals.iter().filter(|refusal| refusal.set == set.name);
        Some(of_set.max_by_key(|refusal| refusal.time)?.message.clone())
    }

    /// Whether it is time to ask all workers again.
    fn may_ask_all(&self, uid: &str) -> bool {
        let now = Instant::now();
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let memory = memory.entry(uid.to_owned()).or_insert_with(|| Memory::new(now));
        let is_time = memory.asked_all.is_none_or(|asked| now - asked >= ASK_ALL);
        if is_time {
            memory.asked_all = Some(now);
        }
        is_time
    }

    /// How long workers have been away, and how long no spout has run.
    fn remember(
        &self,
        uid: &str,
        topology: &Topology,
        pods: &[PodView],
        is_inactive: bool,
    ) -> (BTreeMap<String, BTreeMap<u32, Duration>>, Duration) {
        let now = Instant::now();
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.retain(|_, memory| now - memory.looked < FORGET);
        let memory = memory.entry(uid.to_owned()).or_insert_with(|| Memory::new(now));
        memory.looked = now;
        let is_live = |revision: &str, index: u32| {
            let mut pods = pods.iter();
            pods.any(|pod| pod.revision == revision && pod.index == index && pod.is_live())
        };
        memory.away.retain(|(revision, index), _| {
            pods.iter().any(|pod| pod.revision == *revision) && !is_live(revision, *index)
        });
        for revision in pods.iter().map(|pod| &pod.revision) {
            // A worker may be asked that is not wanted any more.
            let crew = pods.iter().filter(|pod| pod.revision == *revision);
            let highest = crew.map(|pod| pod.index + 1).max().unwrap_or(0);
            let indexes = 0..highest.max(topology.spec.workers.replicas);
            for index in indexes.filter(|&index| !is_live(revision, index)) {
                memory.away.entry((revision.clone(), index)).or_insert(now);
            }
        }
        memory.inactive = is_inactive.then(|| memory.inactive.unwrap_or(now));
        let mut away: BTreeMap<String, BTreeMap<u32, Duration>> = BTreeMap::new();
        for ((revision, index), since) in &memory.away {
            away.entry(revision.clone())
                .or_default()
                .insert(*index, now - *since);
        }
        (away, memory.inactive.map_or(Duration::ZERO, |since| now - since))
    }
}

/// The name of the revision whose workers are all asked how they fare at each look.
fn watched(topology: &Topology) -> Option<&str> {
    let release = topology.status.as_ref()?.release.as_ref()?;
    let is_watched = matches!(
        release.phase,
        ReleasePhase::Opening | ReleasePhase::TakingOver | ReleasePhase::Probation
    );
    is_watched.then_some(release.to.as_str())
}

fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

fn dynamic_api(client: &Client, namespace: Option<&str>, kind: &Kind) -> Api<DynamicObject> {
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &kind.resource()),
        None => Api::all_with(client.clone(), &kind.resource()),
    }
}

/// Topologies, but for what the operator itself says in their status.
fn watch_topologies(api: Api<Topology>) -> (Store<Topology>, Coming<Topology>) {
    let writer = Writer::new(());
    let store = writer.as_reader();
    let config = watcher::Config::default().timeout(WATCH_SECONDS);
    let coming = watcher(api, config)
        .default_backoff()
        .modify(|topology| topology.managed_fields_mut().clear())
        .reflect(writer)
        .touched_objects()
        .filter_map(|topology| {
            // As for other watches.
            let topology = topology.inspect_err(|error| tracing::warn!("watch topologies: {}", chain(error)));
            std::future::ready(topology.ok().map(Ok))
        });
    let changed = predicates::generation.combine(predicates::labels);
    (
        store,
        coming.predicate_filter(changed, Default::default()).boxed(),
    )
}

/// Metadata of users' ConfigMaps as they change. Nothing is kept of them.
fn watch_config_maps(api: Api<PartialObjectMeta<ConfigMap>>) -> Coming<PartialObjectMeta<ConfigMap>> {
    let config = watcher::Config::default()
        .timeout(WATCH_SECONDS)
        .labels(&format!("{MANAGED_LABEL}!={MANAGER}"));
    watcher(api, config)
        .default_backoff()
        .touched_objects()
        .filter_map(|object| {
            let object =
                object.inspect_err(|error| tracing::warn!("watch ConfigMaps of scripts: {}", chain(error)));
            std::future::ready(object.ok().map(Ok))
        })
        .boxed()
}

/// The topologies some of whose scripts come from a ConfigMap.
pub(crate) fn topologies_of(
    topologies: &Store<Topology>,
    map: &PartialObjectMeta<ConfigMap>,
) -> Vec<ObjectRef<Topology>> {
    let name = map.name_any();
    let (namespace, known) = (map.namespace(), topologies.state());
    known
        .iter()
        .filter(|topology| topology.namespace() == namespace && sources(&topology.spec).contains(&name))
        .map(|topology| ObjectRef::from_obj(&**topology))
        .collect()
}

/// The word of the workers of a revision: of the coordinator, or of others if it does not answer; of all, where asked for.
async fn hear(pods: &[&PodView], plan: Option<&ParsedPlan>, asks_all: bool) -> Heard {
    let coordinator = plan.map(|plan| plan.plan().coordinator.0);
    let mut order: Vec<&PodView> = pods.iter().filter(|pod| pod.is_running).copied().collect();
    order.sort_by_key(|pod| {
        (
            Some(pod.index) != coordinator,
            pod.is_ending,
            !pod.is_ready,
            pod.index,
        )
    });
    let mut heard = Heard::default();
    for pod in order.iter().take(ASKED) {
        let Some(ip) = pod.ip else { continue };
        match workers::ask(ip).await {
            Ok(word) => {
                heard.started = word.started_epoch;
                heard.newest = word.newest_epoch;
                heard.complete = word.complete;
                if plan.is_none() {
                    heard.plan = workers::ask_plan(ip).await.ok();
                }
                break;
            }
            Err(error) => tracing::debug!(pod = pod.name, "ask a worker how it stands: {error:#}"),
        }
    }
    if asks_all {
        let asks = order
            .iter()
            .map(|pod| async move { Some((pod, workers::ask(pod.ip?).await.ok()?)) });
        let mut troubles = Troubles::new();
        // Who does not answer is away, which is seen elsewhere.
        for (pod, word) in futures::future::join_all(asks).await.into_iter().flatten() {
            heard.deaths += word.starts.saturating_sub(1);
            for task in &word.tasks {
                heard.pending += task.pending;
                heard.acked += task.acked;
                heard.failed += task.failed + task.timed_out;
            }
            let told = word.troubles.into_iter();
            troubles.extend(told.map(|trouble| (pod.name.clone(), trouble)));
        }
        heard.troubles = Some(troubles);
    }
    heard
}

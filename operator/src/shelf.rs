//! What a watch has brought, kept by topology.
//!
//! Owns: where it is kept, and which topologies a change is about. Leaves to others: what is kept of an object
//! ([`crate::observe`]).
//!
//! Invariants: what belongs to a topology is found without a look at what belongs to others; a change that changes nothing of
//! what is kept is none.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::sync::{Arc, PoisonError, RwLock};

use futures::stream::{self, Stream, StreamExt};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use waterspout_api::resource::Topology;

use crate::controller::chain;

/// A watch that says nothing for so long, in seconds, is begun anew: a dead connection is found no other way.
pub(crate) const WATCH_SECONDS: u32 = 60;
/// So many objects are read at a time when a watch begins: what is read is larger than what is kept.
const PAGE: u32 = 100;

/// What is kept of an object, and whose it is.
pub(crate) struct Entry<T> {
    pub(crate) namespace: String,
    pub(crate) topology: String,
    pub(crate) name: String,
    pub(crate) kept: T,
}

type Of<T> = BTreeMap<String, Arc<T>>;

/// By namespace and topology.
type ByTopology<T> = HashMap<(Arc<str>, Arc<str>), Of<T>>;

#[derive(Debug)]
struct Things<T> {
    by_topology: ByTopology<T>,
    /// The newest version of which the watch has told; 0 if versions are no numbers.
    newest: u64,
}

impl<T> Default for Things<T> {
    fn default() -> Self {
        Self {
            by_topology: HashMap::new(),
            newest: 0,
        }
    }
}

/// What one watch has brought.
pub(crate) struct Shelf<T> {
    things: RwLock<Things<T>>,
    is_filled: watch::Sender<bool>,
}

impl<T: PartialEq + Send + Sync + 'static> Shelf<T> {
    fn empty() -> Arc<Self> {
        Arc::new(Self {
            things: RwLock::default(),
            is_filled: watch::Sender::new(false),
        })
    }

    /// Begins to watch, keeping of each object what `read` makes of it. The stream does the work, and gives the topologies of
    /// which something has changed.
    pub(crate) fn watch<K>(
        api: Api<K>,
        config: watcher::Config,
        what: &'static str,
        read: impl Fn(K) -> Option<Entry<T>> + Send + 'static,
    ) -> (Arc<Self>, impl Stream<Item = ObjectRef<Topology>> + Send)
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        let shelf = Self::empty();
        let filled = Arc::clone(&shelf);
        let config = config.timeout(WATCH_SECONDS).page_size(PAGE);
        let mut coming = Things::default();
        let changes = watcher(api, config).default_backoff().flat_map(move |event| {
            let changed = match event {
                Ok(event) => filled.take(&mut coming, event, &read),
                Err(error) => {
                    // The controller would stop reading all watches for a while, and so spoil those that are about to connect.
                    // This one has a pause of its own.
                    tracing::warn!("watch {what}: {}", chain(&error));
                    Vec::new()
                }
            };
            stream::iter(changed)
        });
        (shelf, changes)
    }

    /// The topologies of which something is another now.
    fn take<K: Resource>(
        &self,
        coming: &mut Things<T>,
        event: watcher::Event<K>,
        read: &impl Fn(K) -> Option<Entry<T>>,
    ) -> Vec<ObjectRef<Topology>> {
        match event {
            watcher::Event::Apply(object) => {
                let version = version(&object);
                let mut things = self.things.write().unwrap_or_else(PoisonError::into_inner);
                things.newest = things.newest.max(version);
                read(object)
                    .and_then(|entry| put(&mut things.by_topology, entry))
                    .into_iter()
                    .collect()
            }
            watcher::Event::Delete(object) => {
                let version = version(&object);
                let mut things = self.things.write().unwrap_or_else(PoisonError::into_inner);
                things.newest = things.newest.max(version);
                read(object)
                    .and_then(|entry| remove(&mut things.by_topology, &entry))
                    .into_iter()
                    .collect()
            }
            watcher::Event::Init => {
                *coming = Things::default();
                Vec::new()
            }
            watcher::Event::InitApply(object) => {
                coming.newest = coming.newest.max(version(&object));
                if let Some(entry) = read(object) {
                    put(&mut coming.by_topology, entry);
                }
                Vec::new()
            }
            watcher::Event::InitDone => {
                let mut things = self.things.write().unwrap_or_else(PoisonError::into_inner);
                let before = std::mem::replace(&mut *things, std::mem::take(coming));
                let changed = differing(&before.by_topology, &things.by_topology);
                drop(things);
                self.is_filled.send_replace(true);
                changed
            }
        }
    }

    /// Keeps an object as this operator has just written it, unless the watch has told of it, or of what became of it, already.
    pub(crate) fn wrote(&self, version: Option<&str>, entry: Entry<T>) {
        let version: Option<u64> = version.and_then(|version| version.parse().ok());
        let mut things = self.things.write().unwrap_or_else(PoisonError::into_inner);
        if version.is_some_and(|version| version > things.newest) {
            put(&mut things.by_topology, entry);
        }
    }

    /// What is kept of a topology.
    pub(crate) fn of(&self, namespace: &str, topology: &str) -> Vec<Arc<T>> {
        let things = self.things.read().unwrap_or_else(PoisonError::into_inner);
        let found = things.by_topology.get(&(namespace.into(), topology.into()));
        found.into_iter().flat_map(BTreeMap::values).cloned().collect()
    }

    /// Waits until the watch has told of all that was there when it began.
    pub(crate) async fn filled(&self) {
        let mut is_filled = self.is_filled.subscribe();
        // The sender is here, so this ends when it is true.
        let _ = is_filled.wait_for(|is_filled| *is_filled).await;
    }
}

fn version<K: Resource>(object: &K) -> u64 {
    let version = object.resource_version();
    version.and_then(|version| version.parse().ok()).unwrap_or(0)
}

fn reference(key: &(Arc<str>, Arc<str>)) -> ObjectRef<Topology> {
    ObjectRef::new(&key.1).within(&key.0)
}

/// Its topology, if something is another now.
fn put<T: PartialEq>(things: &mut ByTopology<T>, entry: Entry<T>) -> Option<ObjectRef<Topology>> {
    let key = (entry.namespace.into(), entry.topology.into());
    let reference = reference(&key);
    let of = things.entry(key).or_default();
    let kept = Arc::new(entry.kept);
    let before = of.insert(entry.name, Arc::clone(&kept));
    (before.as_ref() != Some(&kept)).then_some(reference)
}

fn remove<T>(things: &mut ByTopology<T>, entry: &Entry<T>) -> Option<ObjectRef<Topology>> {
    let key = (entry.namespace.as_str().into(), entry.topology.as_str().into());
    let of = things.get_mut(&key)?;
    let removed = of.remove(&entry.name);
    if of.is_empty() {
        things.remove(&key);
    }
    removed.map(|_| reference(&key))
}

/// The topologies of which two shelves keep different things.
fn differing<T: PartialEq>(before: &ByTopology<T>, after: &ByTopology<T>) -> Vec<ObjectRef<Topology>> {
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    let others = after.iter().filter(|(key, of)| before.get(*key) != Some(*of));
    gone.chain(others.map(|(key, _)| key)).map(reference).collect()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::json;

    use super::*;

    fn object(name: &str, version: u64, text: &str) -> ConfigMap {
        let value = json!({
            "metadata": {"name": name, "namespace": "n", "resourceVersion": version.to_string()},
            "data": {"text": text},
        });
        serde_json::from_value(value).expect("a ConfigMap")
    }

    /// Objects are of the topology before the first hyphen.
    fn read(map: ConfigMap) -> Option<Entry<String>> {
        let name = map.name_any();
        Some(Entry {
            namespace: map.namespace()?,
            topology: name.split_once('-')?.0.to_owned(),
            kept: map.data?.remove("text")?,
            name,
        })
    }

    fn names(changed: &[ObjectRef<Topology>]) -> Vec<&str> {
        let mut names: Vec<&str> = changed.iter().map(|reference| reference.name.as_str()).collect();
        names.sort_unstable();
        names
    }

    fn kept(shelf: &Shelf<String>, topology: &str) -> Vec<String> {
        shelf
            .of("n", topology)
            .iter()
            .map(|kept| kept.to_string())
            .collect()
    }

    #[test]
    fn a_change_is_about_its_own_topology_and_one_of_nothing_is_none() {
        let shelf = Shelf::empty();
        let mut coming = Things::default();
        let mut take = |event| shelf.take(&mut coming, event, &read);
        take(watcher::Event::Init);
        take(watcher::Event::InitApply(object("a-1", 1, "x")));
        take(watcher::Event::InitApply(object("b-1", 2, "y")));
        assert!(kept(&shelf, "a").is_empty(), "it is not whole yet");
        assert_eq!(names(&take(watcher::Event::InitDone)), ["a", "b"]);
        assert!(take(watcher::Event::Apply(object("a-1", 3, "x"))).is_empty());
        assert_eq!(names(&take(watcher::Event::Apply(object("a-2", 4, "z")))), ["a"]);
        assert_eq!(kept(&shelf, "a"), ["x", "z"]);
        assert_eq!(names(&take(watcher::Event::Delete(object("b-1", 5, "y")))), ["b"]);
        assert!(
            kept(&shelf, "b").is_empty() && take(watcher::Event::Delete(object("b-1", 5, "y"))).is_empty()
        );

        // A watch that begins anew tells of what has changed meanwhile only.
        take(watcher::Event::Init);
        take(watcher::Event::InitApply(object("a-1", 1, "x")));
        take(watcher::Event::InitApply(object("c-1", 6, "w")));
        assert_eq!(names(&take(watcher::Event::InitDone)), ["a", "c"]);
        assert_eq!(kept(&shelf, "a"), ["x"]);
    }

    #[test]
    fn what_was_written_is_kept_at_once_unless_the_watch_knows_better() {
        let shelf = Shelf::empty();
        let mut coming = Things::default();
        let entry = |version: u64, text: &str| read(object("a-1", version, text)).expect("it is read");
        shelf.wrote(Some("7"), entry(7, "mine"));
        assert_eq!(kept(&shelf, "a"), ["mine"]);
        let echo = shelf.take(
            &mut coming,
            watcher::Event::Apply(object("a-1", 7, "mine")),
            &read,
        );
        assert!(echo.is_empty());
        shelf.take(
            &mut coming,
            watcher::Event::Delete(object("a-1", 9, "mine")),
            &read,
        );
        shelf.wrote(Some("8"), entry(8, "ghost"));
        shelf.wrote(Some("opaque"), entry(8, "ghost"));
        shelf.wrote(None, entry(8, "ghost"));
        assert!(kept(&shelf, "a").is_empty());
    }
}

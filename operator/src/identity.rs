//! The authority that the operator keeps, and the Secret of each topology that has a certificate of it.
//!
//! Owns: reading both Secrets and how often, the making of keys. Leaves to others: what is due ([`crate::plan::identity`]), the
//! certificates ([`crate::certificates`]), writing ([`crate::apply`]). Invariant: only who leads writes, and only in the place of
//! what was read; a Secret that is not of this topology is never touched.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use thiserror::Error;
use waterspout_api::resource::Topology;

use crate::apply::{ApplyError, Writer};
use crate::certificates::{Root, bundle, ids, leaf_facts};
use crate::metrics::Metrics;
use crate::owned::{MANAGED_LABEL, MANAGER, SECRET};
use crate::plan::identity::{
    CERT_KEY, Lifetimes, PRIVATE_KEY, ROOTS_KEY, ROTATE, ROTATED, RootFacts, SecretFacts, Step,
    TRUSTED_SINCE, name_of, roots, secret, secret_name, step,
};
use crate::plan::{Desired, Owner};

/// How often a Secret is looked at. Nobody is told of its changes: that would take the right to read all of them.
const LOOK: Duration = Duration::from_secs(60);
/// It is looked at so often at least in the shortest time in which something falls due.
const LOOKS: u32 = 4;
/// How often that of a topology is looked at some of whose pods do not run: they may lack it.
const LOOK_SOON: Duration = Duration::from_secs(5);
/// What is remembered of topologies that were not looked at for so long is dropped.
const FORGET: Duration = Duration::from_secs(3600);

/// The keys of the authority's Secret: all roots, and the keys of all in the same order.
const ROOTS: &str = "roots.crt";
const KEYS: &str = "roots.key";

/// Why workers get no certificate.
#[derive(Debug, Error)]
pub(crate) enum IdentityError {
    /// A Secret cannot be read.
    #[error("read Secret '{namespace}/{name}'")]
    ReadSecret {
        namespace: String,
        name: String,
        source: Box<kube::Error>,
    },
    /// A certificate cannot be made.
    #[error("make a certificate")]
    Make(#[from] rcgen::Error),
    /// There is no root that anything can be signed by.
    #[error("no root of the authority in Secret '{0}' can sign")]
    NoRoot(String),
    /// A Secret cannot be written.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

/// When a Secret was looked at, and the roots that were trusted then.
type Looked = (Instant, Arc<Vec<Root>>);

/// The authority, and what was seen of the Secrets of topologies.
pub(crate) struct Identities {
    client: Client,
    /// The namespace and the name of the authority's Secret.
    place: (String, String),
    lifetimes: Lifetimes,
    authority: tokio::sync::Mutex<Option<Looked>>,
    /// By the topology's uid: when its Secret was as it should be, and with which roots.
    seen: Mutex<HashMap<String, Looked>>,
}

impl Identities {
    pub(crate) fn new(client: Client, place: (String, String), lifetimes: Lifetimes) -> Self {
        Self {
            client,
            place,
            lifetimes,
            authority: tokio::sync::Mutex::default(),
            seen: Mutex::default(),
        }
    }

    /// Makes sure that the workers of a topology have a certificate that is valid. `soon` if some of them do not run.
    pub(crate) async fn keep(
        &self,
        topology: &Topology,
        soon: bool,
        writer: &Writer,
        metrics: &Metrics,
    ) -> Result<(), IdentityError> {
        let roots = self.authority(writer, metrics).await?;
        let uid = topology.uid().unwrap_or_default();
        let look = self.look();
        if self.is_fresh(&uid, &roots, if soon { look.min(LOOK_SOON) } else { look }) {
            return Ok(());
        }
        let looked = Instant::now();
        let (name, namespace) = (topology.name_any(), topology.namespace().unwrap_or_default());
        let there = self.read(&namespace, &secret_name(&name)).await?;
        if let Some(there) = &there
            && !there.owner_references().iter().any(|owner| owner.uid == uid)
        {
            let name = secret_name(&name);
            return Err(ApplyError::NameTaken {
                kind: SECRET.kind,
                name,
            }
            .into());
        }
        let owner = Owner {
            name: &name,
            namespace: &namespace,
            uid: &uid,
            worker_role: "",
        };
        if let Some(desired) = self.desired(&owner, there.as_ref(), &roots)? {
            let version = there.as_ref().and_then(ResourceExt::resource_version);
            writer
                .write_secret(&namespace, &desired, version.as_deref())
                .await?;
            metrics.wrote(SECRET.kind);
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|_, (at, _)| looked - *at < FORGET);
        seen.insert(uid, (looked, roots));
        Ok(())
    }

    /// How often Secrets are looked at.
    fn look(&self) -> Duration {
        LOOK.min(self.lifetimes.renew.min(self.lifetimes.spread) / LOOKS)
    }

    /// Whether the Secret of a topology was looked at lately, with the roots of now.
    fn is_fresh(&self, uid: &str, roots: &Arc<Vec<Root>>, within: Duration) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let looked = seen.get(uid).filter(|(_, with)| Arc::ptr_eq(with, roots));
        looked.is_some_and(|(at, _)| at.elapsed() < within)
    }

    /// The Secret of a topology as it should be, if it is not.
    fn desired(
        &self,
        owner: &Owner<'_>,
        there: Option<&Secret>,
        roots: &[Root],
    ) -> Result<Option<Desired>, IdentityError> {
        let now = Timestamp::now();
        let name = name_of(owner.name, owner.namespace);
        let text = |key: &str| there.map(|there| text(there, key)).unwrap_or_default();
        let (cert, key) = (text(CERT_KEY), text(PRIVATE_KEY));
        let since = there.and_then(|there| there.annotations().get(TRUSTED_SINCE)?.parse().ok());
        let facts = there.map(|_| SecretFacts {
            leaf: leaf_facts(&cert, &key, &name, roots),
            trusted: ids(&text(ROOTS_KEY)),
            trusted_since: since,
        });
        let known: Vec<RootFacts> = roots.iter().map(|root| root.facts.clone()).collect();
        let step = step(facts.as_ref(), &known, self.lifetimes, now);
        let is_same = facts.is_some_and(|facts| facts.trusted.iter().eq(known.iter().map(|root| &root.id)));
        let since = since.filter(|_| is_same).unwrap_or(now);
        let bundle = bundle(roots);
        Ok(match step {
            Some(Step::Keep) => None,
            Some(Step::Trust) => {
                tracing::info!(
                    namespace = owner.namespace,
                    topology = owner.name,
                    "tells workers of other roots"
                );
                Some(secret(owner, [&cert, &key, &bundle], since))
            }
            Some(Step::Issue(root)) => {
                let root = roots.iter().find(|one| one.facts.id == root);
                let root = root.ok_or_else(|| IdentityError::NoRoot(self.place.1.clone()))?;
                let (cert, key) = root.issue(&name, now, self.lifetimes.leaf)?;
                tracing::info!(
                    namespace = owner.namespace,
                    topology = owner.name,
                    root = root.facts.id,
                    "makes a certificate for workers"
                );
                Some(secret(owner, [&cert, &key, &bundle], since))
            }
            None => return Err(IdentityError::NoRoot(self.place.1.clone())),
        })
    }

    /// The roots that are trusted, as the authority's Secret has them; what is due there is done.
    async fn authority(&self, writer: &Writer, metrics: &Metrics) -> Result<Arc<Vec<Root>>, IdentityError> {
        let mut known = self.authority.lock().await;
        if let Some((_, roots)) = known.as_ref().filter(|(at, _)| at.elapsed() < self.look()) {
            return Ok(Arc::clone(roots));
        }
        let looked = Instant::now();
        let (namespace, name) = &self.place;
        let there = self.read(namespace, name).await?;
        let now = Timestamp::now();
        let text = |key: &str| there.as_ref().map(|there| text(there, key)).unwrap_or_default();
        let asked = there
            .as_ref()
            .and_then(|there| there.annotations().get(ROTATE).cloned());
        let followed = there
            .as_ref()
            .and_then(|there| there.annotations().get(ROTATED).cloned());
        let mut all = Root::read_all(&text(ROOTS), &text(KEYS));
        if there.is_some() && all.is_empty() {
            tracing::warn!(
                namespace,
                name,
                "the authority's Secret has no root that can be used; makes another one"
            );
        }
        let facts: Vec<RootFacts> = all.iter().map(|root| root.facts.clone()).collect();
        let due = roots(&facts, asked != followed && asked.is_some(), self.lifetimes, now);
        all.retain(|root| due.trusted.contains(&root.facts.id));
        if due.make {
            let root = Root::make(now, self.lifetimes.root)?;
            tracing::info!(
                root = root.facts.id,
                trusted = all.len() + 1,
                "makes a root for certificates of workers"
            );
            all.push(root);
        }
        if due.make || all.len() != facts.len() || text(ROOTS) != bundle(&all) {
            let desired = authority_secret(&self.place, &all, asked.as_deref());
            let version = there.as_ref().and_then(ResourceExt::resource_version);
            writer
                .write_secret(namespace, &desired, version.as_deref())
                .await?;
            metrics.wrote(SECRET.kind);
        }
        let same = known.as_ref().map(|(_, before)| before).filter(|before| {
            let ids = before.iter().map(|root| &root.facts.id);
            ids.eq(all.iter().map(|root| &root.facts.id))
        });
        let roots = same.map_or_else(|| Arc::new(all), Arc::clone);
        *known = Some((looked, Arc::clone(&roots)));
        Ok(roots)
    }

    async fn read(&self, namespace: &str, name: &str) -> Result<Option<Secret>, IdentityError> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        api.get_opt(name)
            .await
            .map_err(|source| IdentityError::ReadSecret {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                source: Box::new(source),
            })
    }
}

/// A text of a Secret; empty if there is none.
fn text(secret: &Secret, key: &str) -> String {
    let found = secret.data.as_ref().and_then(|data| data.get(key));
    found
        .map(|text| String::from_utf8_lossy(&text.0).into_owned())
        .unwrap_or_default()
}

/// The authority's own Secret.
fn authority_secret(place: &(String, String), roots: &[Root], asked: Option<&str>) -> Desired {
    let (namespace, name) = place;
    let keys: String = roots.iter().map(|root| root.key.as_str()).collect();
    let mut body = json!({
        "apiVersion": SECRET.api_version(),
        "kind": SECRET.kind,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {
                "app.kubernetes.io/name": "waterspout",
                "app.kubernetes.io/component": "authority",
                MANAGED_LABEL: MANAGER,
            },
        },
        "type": "Opaque",
        "data": {
            ROOTS: ByteString(bundle(roots).into_bytes()),
            KEYS: ByteString(keys.into_bytes()),
        },
    });
    if let Some(asked) = asked {
        body["metadata"]["annotations"] = json!({ROTATED: asked});
    }
    Desired {
        kind: &SECRET,
        name: name.clone(),
        body,
    }
}

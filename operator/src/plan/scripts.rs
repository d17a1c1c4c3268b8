//! Scripts: the ConfigMaps that their code comes from, and the image that they need.
//!
//! ```text
//! ConfigMap of a user ──copied──> ConfigMap TOPOLOGY-script-DIGEST (immutable) ──mounted──> /etc/waterspout/scripts/DIGEST
//! ```
//!
//! Owns: where the files of a script lie in a pod, and the copies. Leaves to others: reading ConfigMaps
//! ([`crate::observe`]), running scripts (the worker). Pure.
//!
//! Invariants: a copy is named by its content, and a graph by the copies that it needs: so other content is another
//! revision, and what runs keeps the content that it began with, whatever becomes of the ConfigMap that it came from.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use serde::Serialize;
use serde_json::{Value, json};
use waterspout_api::resource::TopologySpec;
use waterspout_core::component::script::{COMMAND, KIND, put_directory};
use waterspout_core::graph::{ComponentSpec, GraphSpec};

use super::objects::{Desired, Owner, digest, object};
use super::{Settings, World};

/// Where the files of scripts lie in a pod. It is in plans, and so in the names of revisions: it stays.
const DIRECTORY: &str = "/etc/waterspout/scripts";
/// Most keys of a ConfigMap that a sentence names.
const MAX_KEYS: usize = 8;

/// What is in a ConfigMap.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Contents {
    data: BTreeMap<String, String>,
    #[serde(rename = "binaryData")]
    binary_data: BTreeMap<String, ByteString>,
}

impl Contents {
    /// What is in this one.
    pub(crate) fn of(map: ConfigMap) -> Self {
        Self {
            data: map.data.unwrap_or_default(),
            binary_data: map.binary_data.unwrap_or_default(),
        }
    }

    fn keys(&self) -> impl Iterator<Item = &String> {
        self.data.keys().chain(self.binary_data.keys())
    }

    fn digest(&self) -> String {
        digest(&serde_json::to_string(self).expect("contents have text keys only"))
    }
}

/// Files that are mounted into the workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// The copy's name.
    pub(crate) config_map: String,
    /// The volume's.
    pub(crate) volume: String,
    pub(crate) path: String,
}

/// The ConfigMaps that a topology's scripts come from.
pub(crate) fn sources(spec: &TopologySpec) -> BTreeSet<String> {
    let of_spouts = spec.spouts.iter().map(|spout| &spout.script);
    let scripts = of_spouts
        .chain(spec.bolts.iter().map(|bolt| &bolt.script))
        .flatten();
    let maps = scripts.filter_map(|script| script.config_map.as_ref());
    maps.map(|map| map.name.clone()).collect()
}

/// Whether code of a topology is run by other programs.
pub(super) fn has_programs(spec: &TopologySpec) -> bool {
    let mut spouts = spec.spouts.iter();
    let mut bolts = spec.bolts.iter();
    spouts.any(|spout| spout.script.is_some() || spout.command.is_some())
        || bolts.any(|bolt| bolt.script.is_some() || bolt.command.is_some())
}

fn needs_programs(graph: &GraphSpec) -> bool {
    let mut kinds = graph.components.iter().map(|component| component.kind.as_str());
    kinds.any(|kind| [KIND, COMMAND].contains(&kind))
}

/// The ConfigMap and the key of a component's script.
fn source(component: &ComponentSpec) -> Option<(&str, &str)> {
    let map = component.config.get("configMap")?;
    (component.kind == KIND).then_some(())?;
    Some((map.get("name")?.as_str()?, map.get("key")?.as_str()?))
}

/// Puts the place of each script's files into its settings.
///
/// # Errors
/// If a ConfigMap or a key is not there: a sentence that says which, and what to do.
pub(super) fn place(
    graph: &mut GraphSpec,
    namespace: &str,
    maps: &BTreeMap<String, Contents>,
) -> Result<(), String> {
    for component in &mut graph.components {
        let Some((name, key)) = source(component) else {
            continue;
        };
        let of = &component.name;
        let Some(contents) = maps.get(name) else {
            return Err(format!(
                "the script of component '{of}' is in ConfigMap '{name}', which is not in namespace '{namespace}'; apply it \
                 there"
            ));
        };
        if !contents.keys().any(|known| known == key) {
            let keys: Vec<String> = contents
                .keys()
                .take(MAX_KEYS)
                .map(|key| format!("'{key}'"))
                .collect();
            return Err(format!(
                "the script of component '{of}' is key '{key}' of ConfigMap '{name}', which has only: {}; add the key, or \
                 name another one",
                keys.join(", ")
            ));
        }
        let directory = format!("{DIRECTORY}/{}", contents.digest());
        put_directory(&mut component.config, &directory);
    }
    Ok(())
}

/// What a placed graph needs in its pods.
pub(super) fn mounts(topology: &str, graph: &GraphSpec) -> Vec<Mount> {
    let directories: BTreeSet<&str> = graph
        .components
        .iter()
        .filter(|component| component.kind == KIND)
        .filter_map(|component| waterspout_core::component::script::directory(&component.config))
        .collect();
    let digests = directories
        .into_iter()
        .filter_map(|path| Some((path, path.strip_prefix(DIRECTORY)?.strip_prefix('/')?)));
    digests
        .map(|(path, digest)| Mount {
            config_map: format!("{}{digest}", copies_of(topology)),
            volume: format!("script-{digest}"),
            path: path.to_owned(),
        })
        .collect()
}

/// What the names of a topology's copies begin with.
fn copies_of(topology: &str) -> String {
    format!("{topology}-script-")
}

/// Whether a ConfigMap of a topology is a copy, by its name.
pub(super) fn is_copy(topology: &str, name: &str) -> bool {
    name.starts_with(&copies_of(topology))
}

/// The copies of a graph whose content is still known.
pub(super) fn copies(owner: &Owner<'_>, mounts: &[Mount], maps: &BTreeMap<String, Contents>) -> Vec<Desired> {
    let wanted = |digest: &str| {
        mounts
            .iter()
            .find(|mount| mount.volume == format!("script-{digest}"))
    };
    let by_digest: BTreeMap<String, &Contents> = maps
        .values()
        .map(|contents| (contents.digest(), contents))
        .collect();
    by_digest
        .into_iter()
        .filter_map(|(digest, contents)| {
            let rest = json!({
                "immutable": true,
                "data": contents.data,
                "binaryData": contents.binary_data,
            });
            Some(object(
                owner,
                "ConfigMap",
                wanted(&digest)?.config_map.clone(),
                None,
                rest,
            ))
        })
        .collect()
}

/// What is said if files are lost that workers need: a copy is gone, and what it was made of is another now.
pub(super) fn lost(world: &World<'_>, mounts: &[Mount], copies: &[Desired]) -> Option<String> {
    let is_there = |mount: &&Mount| {
        copies.iter().any(|copy| copy.name == mount.config_map)
            || world.object("ConfigMap", &mount.config_map).is_some()
    };
    let lost = mounts.iter().find(|mount| !is_there(mount))?;
    Some(format!(
        "ConfigMap '{}' with scripts is gone, and pods that start anew lack it; apply the topology and the ConfigMaps of its \
         scripts again",
        lost.config_map
    ))
}

/// The volumes of these.
pub(super) fn volumes(mounts: &[Mount]) -> impl Iterator<Item = Value> {
    mounts
        .iter()
        .map(|mount| json!({"name": mount.volume, "configMap": {"name": mount.config_map}}))
}

/// Where they are in the container.
pub(super) fn volume_mounts(mounts: &[Mount]) -> impl Iterator<Item = Value> {
    mounts
        .iter()
        .map(|mount| json!({"name": mount.volume, "mountPath": mount.path, "readOnly": true}))
}

impl Settings {
    /// The image of workers that run this.
    pub(super) fn image_for(&self, graph: &GraphSpec) -> &str {
        if needs_programs(graph) {
            &self.script_worker_image
        } else {
            &self.worker_image
        }
    }
}

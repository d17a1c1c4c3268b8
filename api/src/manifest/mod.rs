//! Manifests: a file with one Topology and the ConfigMaps it uses.
//!
//! ```text
//! text --yaml--> nodes with places --document--> kinds --check--> JSON --serde--> Topology --meaning--> Manifest
//! ```
//!
//! Owns: these steps and their order; each reports all faults it finds, and the next one starts only if there were
//! none. Leaves to others: reading files, the rules themselves (schema and core), printing.
//! Invariants: no text panics; a manifest that is taken here is one that the API server and the operator take.

mod check;
mod diagnostic;
mod document;
mod meaning;
mod node;
mod own;
mod rule;
mod scalar;
pub(crate) mod suggest;
mod yaml;

pub use k8s_openapi::api::core::v1::ConfigMap;
use serde::de::DeserializeOwned;
use serde_json::Value;
use waterspout_core::graph::{Graph, GraphSpec};

use crate::resource::Topology;
use crate::schema;
use diagnostic::{Source, Span};
use document::DocumentKind;
use node::Node;

pub use diagnostic::Diagnostic;
pub use own::{OwnFault, Step};
pub use suggest::nearest;

/// The longest text that is read, in bytes: twice what an API server stores.
pub const MAX_TEXT: usize = 4 << 20;
/// The most diagnostics that are given.
const MAX_DIAGNOSTICS: usize = 100;

pub use waterspout_core::plan::Delivery;

/// A manifest whose form and meaning are right.
#[derive(Debug, Clone)]
pub struct Manifest {
    topology: Topology,
    config_maps: Vec<ConfigMap>,
    graph: Graph,
}

impl Manifest {
    /// The manifest that a text says. `name` is what diagnostics call the text: the file's name.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in the order of the text, at least one.
    pub fn parse(name: &str, text: &str) -> Result<Self, Vec<Diagnostic>> {
        Self::parse_with(name, text, |_| Vec::new())
    }

    /// The same for a program that has components of its own: `check` finds faults of their settings once all else is
    /// right.
    ///
    /// # Errors
    ///
    /// As [`Manifest::parse`].
    pub fn parse_with(
        name: &str,
        text: &str,
        check: impl FnOnce(&Topology) -> Vec<OwnFault>,
    ) -> Result<Self, Vec<Diagnostic>> {
        // A byte order mark takes no column.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.len() > MAX_TEXT {
            let message = format!("the text is longer than {} MiB", MAX_TEXT >> 20);
            return Err(vec![Source::new(name, &[]).diagnostic(
                Span::default(),
                message,
                None,
            )]);
        }
        let lines = Source::lines(text);
        let source = Source::new(name, &lines);
        read(&source, text, check).map_err(|mut faults| {
            faults.sort_by_key(|fault| (fault.line, fault.column));
            faults.dedup();
            faults.truncate(MAX_DIAGNOSTICS);
            faults
        })
    }

    /// The topology, with defaults filled in. Its status, if the text has one, is left out.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The topology's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.topology.metadata.name.as_deref().unwrap_or_default()
    }

    /// The ConfigMaps, in the order of the text.
    #[must_use]
    pub fn config_maps(&self) -> &[ConfigMap] {
        &self.config_maps
    }

    /// The graph as it was written.
    #[must_use]
    pub fn graph_spec(&self) -> &GraphSpec {
        self.graph.spec()
    }

    /// The checked graph.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> u32 {
        self.topology.spec.workers.replicas
    }

    /// How tuples are tracked, as a plan says it.
    #[must_use]
    pub fn delivery(&self) -> Delivery {
        self.topology.spec.delivery.to_plan()
    }
}

fn read(
    source: &Source<'_>,
    text: &str,
    check: impl FnOnce(&Topology) -> Vec<OwnFault>,
) -> Result<Manifest, Vec<Diagnostic>> {
    let documents = yaml::documents(source, text)?;
    if documents.is_empty() {
        let help = "a manifest starts with `apiVersion: waterspout.dev/v1alpha1` and `kind: Topology`";
        let place = Span {
            line: 1,
            column: 1,
            length: 1,
        };
        return Err(vec![source.diagnostic(
            place,
            "the manifest is empty",
            Some(help.to_owned()),
        )]);
    }
    let (topology_node, config_map_nodes) = sort_documents(source, &documents)?;
    let mut faults = Vec::new();
    let topology = schema::object_schema().map_err(|error| vec![internal(source, topology_node, &error)]);
    let topology = topology
        .map(document::topology_schema)
        .and_then(|schema| typed::<Topology>(source, &schema, topology_node))
        .map_err(|found| faults.extend(found))
        .ok();
    let config_map_schema = document::config_map_schema();
    let config_maps: Vec<ConfigMap> = config_map_nodes
        .into_iter()
        .filter_map(|node| {
            typed(source, &config_map_schema, node)
                .map_err(|found| faults.extend(found))
                .ok()
        })
        .collect();
    let Some(mut topology) = topology.filter(|_| faults.is_empty()) else {
        return Err(faults);
    };
    topology.status = None;
    let graph = topology.spec.graph().map_err(|found| -> Vec<Diagnostic> {
        found
            .iter()
            .map(|fault| meaning::diagnostic(source, topology_node, fault))
            .collect()
    })?;
    let found = check(&topology);
    if !found.is_empty() {
        let found = found.iter();
        return Err(found
            .map(|fault| own::diagnostic(source, topology_node, fault))
            .collect());
    }
    Ok(Manifest {
        topology,
        config_maps,
        graph,
    })
}

/// The Topology and the ConfigMaps.
fn sort_documents<'a>(
    source: &Source<'_>,
    documents: &'a [Node],
) -> Result<(&'a Node, Vec<&'a Node>), Vec<Diagnostic>> {
    let mut faults = Vec::new();
    let mut topology: Option<&Node> = None;
    let mut config_maps = Vec::new();
    for node in documents {
        match document::kind(source, node) {
            Err(fault) => faults.push(fault),
            Ok(DocumentKind::ConfigMap) => config_maps.push(node),
            Ok(DocumentKind::Topology) => match topology {
                None => topology = Some(node),
                Some(first) => {
                    let span = node.get("kind").map_or(node.span, |kind| kind.span);
                    let help = format!(
                        "the first starts on line {}; put each into a file of its own",
                        first.span.line
                    );
                    faults.push(source.diagnostic(span, "a second Topology in one manifest", Some(help)));
                }
            },
        }
    }
    match topology {
        _ if !faults.is_empty() => Err(faults),
        Some(topology) => Ok((topology, config_maps)),
        None => {
            let span = documents.first().map_or(Span::default(), |node| node.span);
            let help = "it needs one document with `kind: Topology`".to_owned();
            Err(vec![source.diagnostic(
                span,
                "the manifest has no Topology",
                Some(help),
            )])
        }
    }
}

/// A document as the type that its schema describes.
fn typed<T: DeserializeOwned>(
    source: &Source<'_>,
    schema: &Value,
    node: &Node,
) -> Result<T, Vec<Diagnostic>> {
    let value = check::check(source, schema, node)?;
    // The schema says all that the type says, so this is for what no one thought of.
    serde_json::from_value(value).map_err(|error| vec![internal(source, node, &error)])
}

fn internal(source: &Source<'_>, node: &Node, error: &dyn std::error::Error) -> Diagnostic {
    source.diagnostic(node.span, error.to_string(), None)
}

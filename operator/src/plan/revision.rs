//! Revisions: what runs, apart from how many workers run it, and in how many tasks.
//!
//! Owns: what makes a revision, and its name. Leaves to others: its plan ([`super::crew`]), its objects
//! ([`super::objects`]). Pure.
//!
//! Invariant: the same graph has the same name, whoever computes it, in all versions of the operator. The first ones named a
//! graph by its numbers of tasks, too; what runs under such a name keeps it.

use waterspout_core::graph::{Graph, GraphSpec};
use waterspout_core::plan::{Delivery, ParsedPlan};

use super::settings::PodSettings;

/// One revision of a topology, with the numbers that its next plan takes.
#[derive(Debug, Clone)]
pub(crate) struct Revision {
    /// Its name within the topology: eight hexadecimal digits.
    pub(crate) id: String,
    /// Its name as the first operators had it.
    former: String,
    pub(crate) graph: Graph,
    pub(crate) spec: GraphSpec,
    pub(crate) delivery: Delivery,
    pub(crate) workers: u32,
    /// The image that the spec asks for.
    pub(crate) image: Option<String>,
    /// What the spec says of its pods, where it is the spec's own.
    pub(crate) settings: Option<PodSettings>,
}

impl Revision {
    /// The revision of a graph that was checked, in an image and in such pods. `restarted` tells one from another that is the same otherwise.
    pub(crate) fn new(
        graph: Graph,
        spec: GraphSpec,
        delivery: Delivery,
        workers: u32,
        image: Option<String>,
        settings: PodSettings,
        restarted: Option<&str>,
    ) -> Self {
        Self {
            id: id(&without_numbers(&spec), image.as_deref(), &settings, restarted),
            former: id(&spec, image.as_deref(), &settings, restarted),
            graph,
            spec,
            delivery,
            workers,
            image,
            settings: Some(settings),
        }
    }

    /// The revision that a plan runs, with these numbers.
    pub(crate) fn running(plan: &ParsedPlan, workers: u32, delivery: Delivery) -> Self {
        Self {
            id: plan.plan().revision.clone(),
            former: plan.plan().revision.clone(),
            graph: plan.graph().clone(),
            spec: plan.plan().graph.clone(),
            delivery,
            workers,
            image: None,
            settings: None,
        }
    }

    /// The same under the name that it has, if it is there under one of another operator.
    pub(crate) fn known_as(mut self, is_known: impl Fn(&str) -> bool) -> Self {
        if !is_known(&self.id) && is_known(&self.former) {
            self.id.clone_from(&self.former);
        }
        self
    }

    /// The same with the numbers of tasks that another graph has for components of the same name.
    pub(crate) fn numbered_as(&self, other: &GraphSpec) -> Self {
        let spec = self.spec.numbered_as(other);
        match Graph::parse(spec.clone()) {
            Ok(graph) => Self {
                graph,
                spec,
                ..self.clone()
            },
            Err(_) => self.clone(),
        }
    }
}

/// A graph apart from how many tasks its components have.
fn without_numbers(spec: &GraphSpec) -> GraphSpec {
    let mut spec = spec.clone();
    for component in &mut spec.components {
        component.replicas = 0;
    }
    spec
}

/// The name of a graph in an image: the upper half of XXH3 of its JSON and, if one is named, the image, what is said of the
/// pods, if anything is, and since when it was to be started anew.
fn id(spec: &GraphSpec, image: Option<&str>, settings: &PodSettings, restarted: Option<&str>) -> String {
    let mut text = serde_json::to_string(spec).expect("a graph has text keys only");
    if let Some(image) = image {
        // JSON as it is written here has no line break.
        text.push('\n');
        text.push_str(image);
    }
    if let Some(settings) = settings.to_text() {
        text.push_str("\n\n\n");
        text.push_str(&settings);
    }
    if let Some(restarted) = restarted {
        text.push_str("\n\n");
        text.push_str(restarted);
    }
    format!("{:08x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes()) >> 32)
}

//! What is wrong with a topology whose form is right, and where.
//!
//! Owns: the way from the place of a fault in the resource back to the text. Leaves to others: finding the faults (the
//! core). Invariant: a place that is not in the text is shown at the nearest thing around it that is.

use waterspout_core::component::check::ConfigPlace;
use waterspout_core::graph::Role;

use super::diagnostic::{Diagnostic, Source, Span};
use super::yaml::Node;
use crate::resource::{ComponentFault, TopologySpec};

/// One step into a document.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// To the value of a key.
    Key(&'static str),
    /// To an element of a list.
    Index(usize),
}

/// The faults of the components' settings.
pub(super) fn component_faults(source: &Source<'_>, document: &Node, spec: &TopologySpec) -> Vec<Diagnostic> {
    spec.component_faults()
        .into_iter()
        .map(|found| {
            let span = span(document, &component_path(&found));
            source.diagnostic(span, found.fault.problem.to_string(), found.fault.problem.help())
        })
        .collect()
}

fn component_path(found: &ComponentFault) -> Vec<Step> {
    let mut path = component(found.role, found.index);
    match &found.fault.place {
        ConfigPlace::Setting(keys, index) => {
            path.push(Step::Key(found.kind));
            path.extend(keys.iter().map(|key| Step::Key(key)));
            path.extend(index.map(Step::Index));
        }
        // Without the list there is nothing better to point at than the kind that emits.
        ConfigPlace::Streams => path.push(Step::Key("streams")),
        ConfigPlace::Stream(index) => {
            path.extend([Step::Key("streams"), Step::Index(*index), Step::Key("name")]);
        }
        ConfigPlace::StreamFields(index) => {
            path.extend([Step::Key("streams"), Step::Index(*index), Step::Key("fields")]);
        }
    }
    path
}

/// The path of a component.
pub(super) fn component(role: Role, index: usize) -> Vec<Step> {
    let list = match role {
        Role::Spout => "spouts",
        Role::Bolt => "bolts",
    };
    vec![Step::Key("spec"), Step::Key(list), Step::Index(index)]
}

/// Where a path leads in the text. A list or a map is shown by its key, if it has one.
pub(super) fn span(document: &Node, path: &[Step]) -> Span {
    let mut node = document;
    let mut span = document.span;
    for step in path {
        let next = match step {
            Step::Key(key) => node.entry(key).map(|entry| {
                let scalar = !matches!(
                    entry.value.kind,
                    super::yaml::NodeKind::List(_) | super::yaml::NodeKind::Map(_)
                );
                (
                    &entry.value,
                    if scalar { entry.value.span } else { entry.key_span },
                )
            }),
            Step::Index(index) => node.element(*index).map(|element| (element, element.span)),
        };
        let Some(next) = next else { break };
        (node, span) = next;
    }
    span
}

//! What is wrong with a topology whose form is right, and where.
//!
//! Owns: the way from the place of a fault in the resource back to the text. Leaves to others: finding the faults (the
//! core). Invariant: a place that is not in the text is shown at the nearest thing around it that is.

use waterspout_core::component::check::ConfigPlace;
use waterspout_core::graph::{Place, Problem, Role};

use super::diagnostic::{Diagnostic, Source, Span};
use super::node::{Node, NodeKind};
use crate::resource::pods::check::PodFault;
use crate::resource::{ComponentFault, SpecFault};

/// One step into a document.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// To the value of a key.
    Key(&'static str),
    /// To an element of a list.
    Index(usize),
}

/// A fault of the resource, with its place in the text.
pub(super) fn diagnostic(source: &Source<'_>, document: &Node, fault: &SpecFault) -> Diagnostic {
    match fault {
        SpecFault::Component(found) => {
            let span = span(document, &component_path(found));
            source.diagnostic(span, found.fault.problem.to_string(), found.fault.problem.help())
        }
        SpecFault::Pods(fault) => {
            let span = span(document, &pod_path(fault));
            source.diagnostic(span, fault.problem.clone(), Some(fault.help.clone()))
        }
        SpecFault::Graph(fault) => {
            let path = graph_path(&fault.place);
            let span =
                named_element(document, &path, &fault.problem).unwrap_or_else(|| span(document, &path));
            // The core quotes names as in prose, and says what to do behind a semicolon.
            let text = fault.problem.to_string().replace('\'', "`");
            match text.split_once("; ") {
                Some((message, help)) => source.diagnostic(span, message, Some(help.to_owned())),
                None => source.diagnostic(span, text, None),
            }
        }
        SpecFault::Convert(error) => source.diagnostic(document.span, error.to_string(), None),
    }
}

fn pod_path(fault: &PodFault) -> Vec<Step> {
    let mut path = vec![Step::Key("spec"), Step::Key("workers")];
    path.extend(fault.keys.iter().map(|key| Step::Key(key)));
    path.extend(fault.index.map(Step::Index));
    path.extend(fault.fields.iter().map(|field| Step::Key(field)));
    path
}

fn graph_path(place: &Place) -> Vec<Step> {
    let mut path = match place.component {
        Some((role, index)) => component(role, index),
        None => vec![Step::Key("spec")],
    };
    if let Some((list, index)) = place.list {
        path.extend([Step::Key(list), Step::Index(index)]);
    }
    path.extend(place.field.map(Step::Key));
    path
}

/// The element of a list of names that a fault is about: a list is a long thing to point at.
fn named_element(document: &Node, path: &[Step], problem: &Problem) -> Option<Span> {
    let (Problem::UnknownField { field: name, .. } | Problem::ReservedName(name)) = problem else {
        return None;
    };
    let list = path.iter().try_fold(document, |node, step| match step {
        Step::Key(key) => node.get(key),
        Step::Index(index) => node.element(*index),
    })?;
    let NodeKind::List(elements) = &list.kind else {
        return None;
    };
    elements
        .iter()
        .find(|element| element.text() == Some(name))
        .map(|element| element.span)
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
                let scalar = !matches!(entry.value.kind, NodeKind::List(_) | NodeKind::Map(_));
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

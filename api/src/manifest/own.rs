//! Faults of settings that only a program with components of its own can find.
//!
//! Owns: the fault, and the way from its place in `spec` back to the text. Leaves to others: finding it (the program).

use super::diagnostic::{Diagnostic, Source, Span};
use super::node::{Node, NodeKind};

/// One step into `spec`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// To the value of a key.
    Key(String),
    /// To an element of a list.
    Index(usize),
}

impl From<&str> for Step {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl From<usize> for Step {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

/// What is wrong with a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnFault {
    /// Where, from `spec` on. What is not in the text is shown at the nearest thing around it that is.
    pub path: Vec<Step>,
    /// Whether it is about the last key, not about its value.
    pub is_key: bool,
    /// What is wrong.
    pub message: String,
    /// What to do about it, where that is known.
    pub help: Option<String>,
}

/// The fault with its place in the text.
pub(super) fn diagnostic(source: &Source<'_>, document: &Node, fault: &OwnFault) -> Diagnostic {
    let span = span(document, fault);
    source.diagnostic(span, fault.message.clone(), fault.help.clone())
}

fn span(document: &Node, fault: &OwnFault) -> Span {
    let mut at = (document.get("spec").unwrap_or(document), document.span);
    for (number, step) in fault.path.iter().enumerate() {
        let is_key = fault.is_key && number + 1 == fault.path.len();
        let next = match step {
            Step::Key(key) => at.0.entry(key).map(|entry| {
                let long = matches!(entry.value.kind, NodeKind::List(_) | NodeKind::Map(_));
                let span = if is_key || long {
                    entry.key_span
                } else {
                    entry.value.span
                };
                (&entry.value, span)
            }),
            Step::Index(index) => at.0.element(*index).map(|element| (element, element.span)),
        };
        let Some(next) = next else { break };
        at = next;
    }
    at.1
}

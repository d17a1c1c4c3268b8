//! Values that know where they stand in a text.
//!
//! Owns: the tree, and looking into it. Leaves to others: how it is made (`yaml`). Invariant: a span lies on one line.

use serde_json::Number;

use super::diagnostic::Span;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) span: Span,
    pub(super) kind: NodeKind,
}

/// A value.
#[derive(Debug, Clone)]
pub(super) enum NodeKind {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_span: Span,
    pub(super) value: Node,
}

impl Node {
    /// The entry of a map by its key.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.kind {
            NodeKind::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// The value of a map by its key.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The element of a list.
    pub(super) fn element(&self, index: usize) -> Option<&Node> {
        match &self.kind {
            NodeKind::List(elements) => elements.get(index),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether nothing is there.
    pub(super) fn is_null(&self) -> bool {
        matches!(self.kind, NodeKind::Null)
    }

    /// How large a copy is: nodes and characters together.
    pub(super) fn size(&self) -> usize {
        match &self.kind {
            NodeKind::Null | NodeKind::Bool(_) | NodeKind::Number(_) => 1,
            NodeKind::Text(text) => 1 + text.len(),
            NodeKind::List(elements) => 1 + elements.iter().map(Node::size).sum::<usize>(),
            NodeKind::Map(entries) => {
                1 + entries
                    .iter()
                    .map(|entry| entry.key.len() + entry.value.size())
                    .sum::<usize>()
            }
        }
    }

    /// Puts it, with all that is in it, where the alias stands that it is a copy for.
    pub(super) fn put_at(&mut self, span: Span) {
        self.span = span;
        match &mut self.kind {
            NodeKind::List(elements) => elements.iter_mut().for_each(|element| element.put_at(span)),
            NodeKind::Map(entries) => {
                for entry in entries {
                    entry.key_span = span;
                    entry.value.put_at(span);
                }
            }
            _ => {}
        }
    }
}

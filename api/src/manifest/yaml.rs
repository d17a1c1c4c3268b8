//! YAML text as trees of values that know where they stand.
//!
//! Owns: documents, scalars, anchors, aliases and merge keys, duplicate keys, and the limits that keep a hostile text
//! from using up memory. Leaves to others: what the values mean. Invariants: a node's span lies on one line, that of
//! its first character; an alias has the span of the alias; the first entry of a duplicate key stays.

use std::collections::HashMap;

use serde_json::{Number, Value};
use serde_saphyr::granit_parser::{self as parser, Event, Marker, Parser, ScalarStyle, StructureStyle, Tag};

use super::diagnostic::{Diagnostic, Source, Span};
use super::scalar;

/// The most that aliases may multiply a text to: nodes and characters together.
const MAX_EXPANSION: usize = 1 << 20;

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

    /// How much of the budget a copy takes.
    fn size(&self) -> usize {
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
}

/// A node under construction.
enum Open {
    List {
        span: Span,
        anchor: usize,
        elements: Vec<Node>,
    },
    Map(OpenMap),
}

struct OpenMap {
    start: Span,
    flow: bool,
    anchor: usize,
    entries: Vec<Entry>,
    /// The line of each key of `entries`.
    lines: HashMap<String, usize>,
    /// The key whose value comes next, and whether it is the merge key.
    key: Option<(String, Span, bool)>,
    merges: Vec<Node>,
}

struct Builder<'a> {
    source: &'a Source<'a>,
    open: Vec<Open>,
    root: Option<Node>,
    /// Finished nodes with an anchor, and their sizes.
    anchors: HashMap<usize, (Node, usize)>,
    budget: usize,
    documents: Vec<Node>,
    faults: Vec<Diagnostic>,
}

/// The documents of a text that are not empty.
///
/// # Errors
///
/// The first fault of the syntax, or all duplicate keys.
pub(super) fn documents(source: &Source<'_>, text: &str) -> Result<Vec<Node>, Vec<Diagnostic>> {
    let mut options = parser::Options::default();
    options.set_emit_comments(false);
    let mut builder = Builder {
        source,
        open: Vec::new(),
        root: None,
        anchors: HashMap::new(),
        budget: MAX_EXPANSION,
        documents: Vec::new(),
        faults: Vec::new(),
    };
    for next in Parser::new_from_str_with_options(text, options) {
        let result = match next {
            Ok((event, span)) => builder.event(event, span),
            Err(error) => Err(syntax(source, &error)),
        };
        if let Err(fault) = result {
            builder.faults.push(fault);
            break;
        }
    }
    if builder.faults.is_empty() {
        Ok(builder.documents)
    } else {
        Err(builder.faults)
    }
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, at: parser::Span) -> Result<(), Diagnostic> {
        match event {
            Event::DocumentEnd => {
                self.anchors.clear();
                self.documents.extend(
                    self.root
                        .take()
                        .filter(|node| !matches!(node.kind, NodeKind::Null)),
                );
            }
            Event::Scalar(text, style, anchor, tag) => {
                let span = self.span(at);
                let kind = self.scalar(&text, style, tag.as_deref(), span)?;
                self.finish(Node { span, kind }, anchor, style == ScalarStyle::Plain)?;
            }
            Event::SequenceStart(_, anchor, tag) => {
                let span = self.start(at);
                self.core_tag(tag.as_deref(), "seq", span)?;
                self.open.push(Open::List {
                    span,
                    anchor,
                    elements: Vec::new(),
                });
            }
            Event::MappingStart(style, anchor, tag) => {
                let start = self.start(at);
                self.core_tag(tag.as_deref(), "map", start)?;
                self.open.push(Open::Map(OpenMap {
                    start,
                    flow: style == StructureStyle::Flow,
                    anchor,
                    entries: Vec::new(),
                    lines: HashMap::new(),
                    key: None,
                    merges: Vec::new(),
                }));
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(at)?,
            Event::Alias(anchor) => {
                let span = self.span(at);
                let node = self.copy(anchor, span)?;
                self.finish(node, 0, false)?;
            }
            Event::UnresolvedAlias(_) => {
                return Err(self
                    .source
                    .diagnostic(self.span(at), "there is no anchor of this name", None));
            }
            // The borders of the stream and the documents, and comments.
            _ => {}
        }
        Ok(())
    }

    fn copy(&mut self, anchor: usize, span: Span) -> Result<Node, Diagnostic> {
        let Some((node, size)) = self.anchors.get(&anchor) else {
            return Err(self
                .source
                .diagnostic(span, "an alias inside of what it stands for", None));
        };
        let Some(budget) = self.budget.checked_sub(*size) else {
            let message = "the aliases of this text make it too large";
            return Err(self.source.diagnostic(span, message, None));
        };
        self.budget = budget;
        let mut node = node.clone();
        respan(&mut node, span);
        Ok(node)
    }

    fn close(&mut self, at: parser::Span) -> Result<(), Diagnostic> {
        match self.open.pop() {
            Some(Open::List {
                span,
                anchor,
                elements,
            }) => {
                let span = self.closed(span, at.end);
                self.finish(
                    Node {
                        span,
                        kind: NodeKind::List(elements),
                    },
                    anchor,
                    false,
                )
            }
            Some(Open::Map(mut map)) => {
                let span = if map.flow {
                    self.closed(map.start, at.end)
                } else {
                    map.entries.first().map_or(map.start, |entry| entry.key_span)
                };
                self.merge(&mut map)?;
                self.finish(
                    Node {
                        span,
                        kind: NodeKind::Map(map.entries),
                    },
                    map.anchor,
                    false,
                )
            }
            None => Ok(()),
        }
    }

    /// What `<<` brings in: keys that are not there yet.
    fn merge(&self, map: &mut OpenMap) -> Result<(), Diagnostic> {
        for node in std::mem::take(&mut map.merges) {
            let span = node.span;
            let sources = match node.kind {
                NodeKind::List(elements) => elements,
                _ => vec![node],
            };
            for source in sources {
                let NodeKind::Map(merged) = source.kind else {
                    return Err(self
                        .source
                        .diagnostic(span, "`<<` takes a map or a list of maps", None));
                };
                for entry in merged {
                    if !map.lines.contains_key(&entry.key) {
                        map.lines.insert(entry.key.clone(), entry.key_span.line);
                        map.entries.push(entry);
                    }
                }
            }
        }
        Ok(())
    }

    /// A node is complete: it becomes a key, a value, an element or the document.
    fn finish(&mut self, node: Node, anchor: usize, plain: bool) -> Result<(), Diagnostic> {
        if anchor != 0 {
            let size = node.size();
            // Anchored nodes are copied too.
            self.budget = self.budget.checked_sub(size).ok_or_else(|| {
                self.source
                    .diagnostic(node.span, "the anchors of this text make it too large", None)
            })?;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { elements, .. }) => elements.push(node),
            Some(Open::Map(map)) => match map.key.take() {
                None => {
                    let key = key_text(&node, self.source)?;
                    let merge = plain && key == "<<";
                    map.key = Some((key, node.span, merge));
                }
                Some((_, _, true)) => map.merges.push(node),
                Some((key, key_span, false)) => match map.lines.get(&key) {
                    Some(line) => {
                        let help = format!("it is already set on line {line}");
                        let message = format!("`{key}` is set twice");
                        self.faults
                            .push(self.source.diagnostic(key_span, message, Some(help)));
                    }
                    None => {
                        map.lines.insert(key.clone(), key_span.line);
                        map.entries.push(Entry {
                            key,
                            key_span,
                            value: node,
                        });
                    }
                },
            },
        }
        Ok(())
    }

    fn scalar(
        &self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&Tag>,
        span: Span,
    ) -> Result<NodeKind, Diagnostic> {
        let suffix = match tag {
            None => None,
            Some(tag) => match tag.core_suffix() {
                Some(suffix) => Some(suffix),
                None => return Err(self.unknown_tag(span)),
            },
        };
        Ok(match suffix {
            Some("str") => NodeKind::Text(text.to_owned()),
            None if style != ScalarStyle::Plain => NodeKind::Text(text.to_owned()),
            _ => match scalar::resolve(text) {
                Value::Null => NodeKind::Null,
                Value::Bool(value) => NodeKind::Bool(value),
                Value::Number(value) => NodeKind::Number(value),
                _ => NodeKind::Text(text.to_owned()),
            },
        })
    }

    fn core_tag(&self, tag: Option<&Tag>, expected: &str, span: Span) -> Result<(), Diagnostic> {
        match tag {
            Some(tag) if tag.core_suffix() != Some(expected) => Err(self.unknown_tag(span)),
            _ => Ok(()),
        }
    }

    fn unknown_tag(&self, span: Span) -> Diagnostic {
        self.source.diagnostic(
            span,
            "a YAML tag that has no meaning here",
            Some("remove the tag".to_owned()),
        )
    }

    /// The span of a scalar or an alias: to its end, or to the end of its first line.
    fn span(&self, at: parser::Span) -> Span {
        self.closed(self.start(at), at.end)
    }

    fn start(&self, at: parser::Span) -> Span {
        Span {
            line: at.start.line(),
            column: at.start.col() + 1,
            length: 1,
        }
    }

    fn closed(&self, start: Span, end: Marker) -> Span {
        let length = if end.line() == start.line {
            (end.col() + 1).saturating_sub(start.column)
        } else {
            self.source.rest_of_line(start.line, start.column)
        };
        Span {
            length: length.max(1),
            ..start
        }
    }
}

/// A copy by alias stands, with all that is in it, where the alias stands.
fn respan(node: &mut Node, span: Span) {
    node.span = span;
    match &mut node.kind {
        NodeKind::List(elements) => elements.iter_mut().for_each(|element| respan(element, span)),
        NodeKind::Map(entries) => {
            for entry in entries {
                entry.key_span = span;
                respan(&mut entry.value, span);
            }
        }
        _ => {}
    }
}

/// The text of a key. Keys that are no text are what JSON makes of them, as with kubectl.
fn key_text(node: &Node, source: &Source<'_>) -> Result<String, Diagnostic> {
    match &node.kind {
        NodeKind::Text(text) => Ok(text.clone()),
        NodeKind::Bool(value) => Ok(value.to_string()),
        NodeKind::Number(value) => Ok(value.to_string()),
        NodeKind::Null => Err(source.diagnostic(node.span, "a key cannot be empty", None)),
        NodeKind::List(_) | NodeKind::Map(_) => {
            Err(source.diagnostic(node.span, "a key must be a text, not a list or a map", None))
        }
    }
}

/// A fault of the syntax. A tab in the indentation is what it usually is when there is one, so it is said first.
fn syntax(source: &Source<'_>, error: &parser::ScanError) -> Diagnostic {
    let marker = error.marker();
    let line = marker.line();
    let indentation = source
        .line(line)
        .chars()
        .take_while(|character| matches!(character, ' ' | '\t'));
    if let Some(tab) = indentation
        .collect::<Vec<_>>()
        .iter()
        .position(|character| *character == '\t')
    {
        let span = Span {
            line,
            column: tab + 1,
            length: 1,
        };
        return source.diagnostic(
            span,
            "a tab in the indentation",
            Some("YAML takes spaces only".to_owned()),
        );
    }
    let span = Span {
        line,
        column: marker.col() + 1,
        length: 1,
    };
    source.diagnostic(span, format!("this is not YAML: {}", error.kind()), None)
}

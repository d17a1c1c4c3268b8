//! What one task notes of the sampled roots that it meets.
//!
//! Owns: the spans that are open at a task. Invariants: nothing is looked at but frames that come and go, so a tuple costs
//! nothing; what is kept is bounded.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use waterspout_core::frame::Frame;
use waterspout_core::ledger::{Change, LedgerEntry};

use super::{Root, Span, Traces, now, sampled, span_id};

/// Most roots of a spout task that are traced at a time.
const ROOTS: usize = 1_024;
/// Most roots of which it is known what was last done for them at a task.
const KNOWN: usize = 1_024;

/// The spans of one task.
pub(crate) struct TaskTraces {
    traces: Arc<Traces>,
    component: String,
    task: u32,
    /// What is done for the frame at hand.
    open: Vec<Open>,
    /// By which span a root came here last; what is emitted for it is the child of that.
    known: VecDeque<(Root, u64)>,
    /// The task's own roots that are not done.
    roots: Vec<Emitted>,
}

struct Open {
    trace: u128,
    id: u64,
    parent: u64,
    start: Duration,
    rows: u64,
}

struct Emitted {
    root: Root,
    start: Duration,
    /// The last that was heard of it.
    heard: Option<Change>,
}

impl TaskTraces {
    /// Nothing yet, of task `task` of `component`.
    pub(crate) fn new(traces: &Arc<Traces>, component: &str, task: u32) -> Self {
        Self {
            traces: Arc::clone(traces),
            component: component.to_owned(),
            task,
            open: Vec::new(),
            known: VecDeque::new(),
            roots: Vec::new(),
        }
    }

    /// The task begins with a frame.
    pub(crate) fn begin(&mut self, frame: &Frame) {
        for root in sampled(frame, self.traces.one_in) {
            let trace = self.traces.trace(root);
            let id = span_id(trace, !frame.id);
            self.open.push(Open {
                trace,
                id,
                parent: span_id(trace, frame.id),
                start: now(),
                rows: frame.rows() as u64,
            });
            if self.known.len() == KNOWN {
                self.known.pop_front();
            }
            self.known.push_back((root, id));
        }
    }

    /// The task is done with the frame that it began with, but for what it holds of it.
    pub(crate) fn end(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let end = now();
        for open in self.open.drain(..) {
            self.traces.export(Span {
                trace: open.trace,
                id: open.id,
                parent: Some(open.parent),
                name: self.component.clone(),
                task: self.task,
                to: None,
                rows: Some(open.rows),
                start: open.start,
                end,
                error: None,
            });
        }
    }

    /// The task sends a frame to task `to`.
    pub(crate) fn emit(&mut self, frame: &Frame, to: u32) {
        for root in sampled(frame, self.traces.one_in) {
            let trace = self.traces.trace(root);
            let start = now();
            let is_own = root.0.spout == self.task;
            if is_own && self.roots.len() < ROOTS && !self.roots.iter().any(|known| known.root == root) {
                self.roots.push(Emitted {
                    root,
                    start,
                    heard: None,
                });
            }
            let came = self.known.iter().rev().find(|known| known.0 == root);
            self.traces.export(Span {
                trace,
                id: span_id(trace, frame.id),
                parent: Some(came.map_or_else(|| span_id(trace, 0), |known| known.1)),
                name: format!("{} emits", self.component),
                task: self.task,
                to: Some(to),
                rows: Some(frame.rows() as u64),
                start,
                end: start,
                error: None,
            });
        }
    }

    /// Entries came for the task's own roots.
    pub(crate) fn hear(&mut self, entries: &[LedgerEntry]) {
        for emitted in &mut self.roots {
            let (group, root) = emitted.root;
            let about = |entry: &&LedgerEntry| {
                entry.group == group && entry.roots[usize::from(root >> 6)] & 1 << (root & 63) != 0
            };
            if let Some(entry) = entries.iter().rfind(about) {
                emitted.heard = Some(entry.change);
            }
        }
    }

    /// Ends the traces of the task's own roots that are not pending any more.
    pub(crate) fn settle(&mut self, is_pending: impl Fn(Root) -> bool) {
        let done = self.roots.extract_if(.., |emitted| {
            !is_pending(emitted.root) || emitted.heard == Some(Change::Fail)
        });
        let end = now();
        for emitted in done {
            let trace = self.traces.trace(emitted.root);
            self.traces.export(Span {
                trace,
                id: span_id(trace, 0),
                parent: None,
                name: self.component.clone(),
                task: self.task,
                to: None,
                rows: None,
                start: emitted.start,
                end,
                error: match emitted.heard {
                    Some(Change::Fail) => Some("failed"),
                    Some(Change::Xor(_)) => None,
                    Some(Change::Renew) | None => Some("timed out or lost"),
                },
            });
        }
        self.roots.iter_mut().for_each(|emitted| emitted.heard = None);
    }

    /// Whether roots of the task's own are traced that are not done.
    pub(crate) fn has_roots(&self) -> bool {
        !self.roots.is_empty()
    }
}

//! What a task is called in log lines.
//!
//! Owns: the span of a task. Invariant: it is made anew when the log's filter has changed, for a filter matches a span when
//! that is made.

use crate::logging;

/// The names of a task, and their span.
pub(super) struct Label {
    topology: String,
    component: String,
    task: u32,
    span: tracing::Span,
    /// Of the filter that the span was made for.
    generation: u64,
}

impl Label {
    pub(super) fn new(topology: &str, component: &str, task: u32) -> Self {
        Self {
            topology: topology.to_owned(),
            component: component.to_owned(),
            task,
            span: span(topology, component, task),
            generation: logging::generation(),
        }
    }

    pub(super) fn component(&self) -> &str {
        &self.component
    }

    pub(super) fn task(&self) -> u32 {
        self.task
    }

    /// The span, for the filter that holds now.
    #[inline]
    pub(super) fn renewed_span(&mut self) -> &tracing::Span {
        let generation = logging::generation();
        if self.generation != generation {
            self.generation = generation;
            self.span = span(&self.topology, &self.component, self.task);
        }
        &self.span
    }

    pub(super) fn span(&self) -> &tracing::Span {
        &self.span
    }
}

fn span(topology: &str, component: &str, task: u32) -> tracing::Span {
    // An error's level, so that no filter takes the names away from the lines that it lets through.
    tracing::error_span!("task", topology, component, task)
}

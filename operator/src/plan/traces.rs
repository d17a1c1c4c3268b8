//! Where workers send their traces.
//!
//! Owns: what a worker is told of it, and its record on the StatefulSet, since the pods of a revision stay as they began. Leaves to
//! others: traces (the worker). Pure.

use serde_json::Value;

/// Says on a StatefulSet where its workers send traces.
pub(super) const TRACES_ANNOTATION: &str = "waterspout.dev/worker-traces";

/// A collector, and how much goes there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Traces {
    pub(crate) endpoint: String,
    /// One root tuple in so many is traced.
    pub(crate) one_in: u64,
}

impl Traces {
    /// As the record has it.
    pub(super) fn record(&self) -> String {
        format!("{} {}", self.one_in, self.endpoint)
    }

    /// What a record says.
    pub(super) fn read(record: &str) -> Option<Self> {
        let (one_in, endpoint) = record.split_once(' ')?;
        Some(Self {
            endpoint: endpoint.to_owned(),
            one_in: one_in.parse().ok()?,
        })
    }

    /// What a worker is told.
    pub(super) fn args(&self) -> [Value; 4] {
        let one_in = self.one_in.to_string();
        [
            "--traces",
            self.endpoint.as_str(),
            "--trace-one-in",
            one_in.as_str(),
        ]
        .map(Value::from)
    }
}

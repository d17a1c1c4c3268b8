//! What workers tell each other besides tuples and acks.

use serde::{Deserialize, Serialize};
use waterspout_core::epoch::{Hello, Message};
use waterspout_core::finish::TaskState;
use waterspout_core::graph::ComponentId;

/// A control message. What matters is said again and again, so that one that is lost does no harm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Control {
    /// To a peer that there is a connection to now: how the sender stands.
    Hello {
        /// How it stands.
        hello: Hello,
        /// Whether the receiver is to say the same of itself.
        answer: bool,
    },
    /// A message of the epoch machine.
    Epoch(Message),
    /// To the coordinator: the states of the sender's tasks.
    Report(Vec<(u32, TaskState)>),
    /// From the coordinator: all input of these components has ended.
    Finish(Vec<ComponentId>),
    /// From the coordinator: the topology is complete.
    Complete,
    /// To all: the sender was told to end; so many roots are in flight at its spouts.
    Leaving {
        /// Roots in flight.
        pending: u64,
    },
}

impl Control {
    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("control messages have text keys only")
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

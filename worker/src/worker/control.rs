//! What workers tell each other besides tuples and acks.

use serde::{Deserialize, Serialize};
use waterspout_core::epoch::{Ballot, CopyId, Hello, Message};
use waterspout_core::finish::TaskState;
use waterspout_core::graph::ComponentId;

use crate::poison::Culprit;

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
    /// A part of a task's state, which moves to the receiver.
    Copy(CopyPart),
    /// To the coordinator: the states of the sender's tasks.
    Report {
        /// The epoch that they are of: of another one, tasks may be numbered in another way.
        epoch: u64,
        /// The states.
        states: Vec<(u32, TaskState)>,
    },
    /// To all: the process before the sender died of these roots.
    Died(Vec<Culprit>),
    /// From the coordinator: all input of these components has ended.
    Finish(Vec<ComponentId>),
    /// From the coordinator: the topology is complete.
    Complete,
    /// To the coordinator: the sender knows that the topology is complete.
    Told,
    /// To all: the sender was told to end; so many roots are in flight at its spouts.
    Leaving {
        /// Roots in flight.
        pending: u64,
    },
}

/// Some bytes of the state of a task. Those of one copy are sent in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CopyPart {
    /// The hand-over that it is for.
    pub(super) ballot: Ballot,
    /// Which copy it is of.
    pub(super) copy: CopyId,
    /// How many bytes of the copy came before.
    pub(super) offset: u64,
    /// Whether the copy ends with this part.
    pub(super) is_last: bool,
    /// The bytes.
    #[serde(skip)]
    pub(super) bytes: Vec<u8>,
}

impl Control {
    /// See [`Control::Report`].
    pub(super) fn report(epoch: u64, states: Vec<(u32, TaskState)>) -> Self {
        Self::Report { epoch, states }
    }

    /// A line of JSON; the bytes of a copy follow as they are.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut message = serde_json::to_vec(self).expect("control messages have text keys only");
        if let Self::Copy(part) = self {
            message.push(b'\n');
            message.extend_from_slice(&part.bytes);
        }
        message
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        // JSON as it is written here has no line break.
        let end = bytes
            .iter()
            .position(|&byte| byte == b'\n')
            .unwrap_or(bytes.len());
        let mut message = serde_json::from_slice(&bytes[..end])?;
        if let Self::Copy(part) = &mut message {
            part.bytes = bytes.get(end + 1..).unwrap_or_default().to_vec();
        }
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use waterspout_fuzz::fuzz;

    use super::*;

    #[test]
    fn fuzz_control() {
        fuzz("control", |bytes| {
            let Ok(message) = Control::decode(bytes) else {
                return String::new();
            };
            assert_eq!(Control::decode(&message.encode()).ok().as_ref(), Some(&message));
            format!("{message:?}").chars().take(12).collect()
        });
    }
}

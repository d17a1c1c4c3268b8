//! Who the workers are that talk to each other.

use std::fmt;

use serde::{Deserialize, Serialize};
use waterspout_core::epoch::Incarnation;
use waterspout_core::placement::WorkerIndex;

use super::proto;

/// A worker in one of its lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PeerId {
    /// The worker.
    pub index: WorkerIndex,
    /// Its life.
    pub incarnation: Incarnation,
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {} (start {})", self.index.0, self.incarnation.start)
    }
}

impl From<PeerId> for proto::Peer {
    fn from(peer: PeerId) -> Self {
        Self {
            index: peer.index.0,
            uid: peer.incarnation.uid,
            start: peer.incarnation.start,
        }
    }
}

impl From<&proto::Peer> for PeerId {
    fn from(peer: &proto::Peer) -> Self {
        Self {
            index: WorkerIndex(peer.index),
            incarnation: Incarnation {
                uid: peer.uid,
                start: peer.start,
            },
        }
    }
}

/// Which connection a frame came by, so that credit goes back to the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The sender.
    pub worker: WorkerIndex,
    /// The number of the connection.
    pub connection: u64,
}

/// What is known of another worker, for people and metrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerStatus {
    /// The worker.
    pub worker: u32,
    /// Whether there is a connection.
    pub up: bool,
    /// How often its process has started, as far as it is known.
    pub starts: u64,
    /// Frames that wait to be sent.
    pub queued_frames: usize,
    /// Ledger messages that it has not confirmed.
    pub unconfirmed: usize,
    /// How often the connection was lost.
    pub losses: u64,
    /// Frames that were sent to it.
    #[serde(default)]
    pub sent_frames: u64,
    /// Their bytes, as they are on the wire before encryption.
    #[serde(default)]
    pub sent_bytes: u64,
}

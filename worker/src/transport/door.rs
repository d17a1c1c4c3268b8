//! Who comes in: the hello of each stream, how many streams are open at once, and the count of what was refused.
//!
//! Owns: the check of a hello, its deadline, the bounds of open connections and streams. Leaves to others: what is said behind the hello
//! ([`super::incoming`]), who is who (mutual TLS). Invariant: a stream that is refused, here or later, is counted once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio_stream::{Stream, StreamExt};
use tonic::{Code, Status};

use super::proto::Hello;
use super::{PROTOCOL_VERSION, PeerId, TransportConfig};
use crate::rim::within;

/// Streams that may be open at once, beside those of the peers that are known: peers that a newer plan names, and
/// streams that broke without a word.
const SPARE_STREAMS: usize = 64;
/// Streams that each known peer may have open at once. It has two, and as many that broke without a word.
const STREAMS_OF_A_PEER: usize = 4;

/// The door of a worker.
pub(super) struct Door {
    config: TransportConfig,
    peers: AtomicUsize,
    streams: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    /// Streams, and connections, that were ended for what came on them.
    refused: AtomicU64,
}

/// A stream or a connection that is open: one of so many.
pub(super) struct Entered {
    open: Arc<AtomicUsize>,
}

impl Entered {
    /// One more, and how many there were before.
    fn new(open: &Arc<AtomicUsize>) -> (Self, usize) {
        let before = open.fetch_add(1, Ordering::Relaxed);
        let open = Arc::clone(open);
        (Self { open }, before)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Door {
    pub(super) fn new(config: TransportConfig) -> Arc<Self> {
        Arc::new(Self {
            config,
            peers: AtomicUsize::new(0),
            streams: Arc::default(),
            connections: Arc::default(),
            refused: AtomicU64::new(0),
        })
    }

    /// Says how many peers are known.
    pub(super) fn set_peers(&self, peers: usize) {
        self.peers.store(peers, Ordering::Relaxed);
    }

    /// How many streams and connections were ended for what came on them.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Counts a stream or a connection that is ended for what came on it. One that broke is not counted.
    pub(super) fn count(&self, status: &Status) {
        if !is_break(status) {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many streams may be open at once.
    fn most_streams(&self) -> usize {
        SPARE_STREAMS + STREAMS_OF_A_PEER * self.peers.load(Ordering::Relaxed)
    }

    /// How long a caller has to say who it is.
    pub(super) fn patience(&self) -> Duration {
        self.config.lost_after
    }

    /// Lets a connection in; `None` if there are too many. Each is to carry one stream.
    pub(super) fn enter_connection(&self) -> Option<Entered> {
        let (entered, open) = Entered::new(&self.connections);
        if open < self.most_streams() {
            return Some(entered);
        }
        self.count_connection();
        None
    }

    /// Counts a connection that is ended for what came on it, or for being one too many.
    pub(super) fn count_connection(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Lets a stream in whose first message is a hello of one who may call.
    ///
    /// # Errors
    /// Why the stream is refused.
    pub(super) async fn enter<T>(
        self: &Arc<Self>,
        messages: &mut (impl Stream<Item = Result<T, Status>> + Unpin),
        hello: impl FnOnce(T) -> Option<Hello>,
    ) -> Result<(PeerId, Entered), Status> {
        let entered = self.hear(messages, hello).await;
        entered.inspect_err(|status| {
            tracing::warn!(reason = status.message(), "refused a stream");
            self.count(status);
        })
    }

    async fn hear<T>(
        self: &Arc<Self>,
        messages: &mut (impl Stream<Item = Result<T, Status>> + Unpin),
        hello: impl FnOnce(T) -> Option<Hello>,
    ) -> Result<(PeerId, Entered), Status> {
        let (entered, open) = Entered::new(&self.streams);
        let most = self.most_streams();
        if open >= most {
            return Err(Status::resource_exhausted(format!(
                "{most} streams are open here, and that is the most"
            )));
        }
        let first = within(self.patience(), messages.next()).await;
        let first = first.ok_or_else(|| Status::deadline_exceeded("the caller does not say who it is"))?;
        let Some(hello) = first.transpose()?.and_then(hello) else {
            return Err(Status::failed_precondition(
                "the stream does not begin with a hello",
            ));
        };
        Ok((self.check(&hello)?, entered))
    }

    /// Whether a caller speaks the same protocol, and is of the same topology.
    pub(super) fn check_kin(&self, version: u32, topology: &str) -> Result<(), Status> {
        let refuse = |reason: String| Err(Status::failed_precondition(reason));
        if version != PROTOCOL_VERSION {
            return refuse(format!(
                "this worker speaks protocol version {PROTOCOL_VERSION}, the caller {version}; run the same version of \
                 Waterspout on all workers"
            ));
        }
        if topology != self.config.topology {
            let mine = &self.config.topology;
            return refuse(format!(
                "this is a worker of topology '{mine}', not of '{topology}'"
            ));
        }
        Ok(())
    }

    /// Who calls, if that is somebody who may.
    fn check(&self, hello: &Hello) -> Result<PeerId, Status> {
        let refuse = |reason: String| Err(Status::failed_precondition(reason));
        self.check_kin(hello.version, &hello.topology)?;
        let me = self.config.me.index.0;
        if hello.to != me {
            return refuse(format!("this is worker {me}, not worker {}", hello.to));
        }
        match &hello.from {
            Some(from) if from.index == me => {
                refuse(format!("the caller says that it is worker {me} itself"))
            }
            Some(from) => Ok(from.into()),
            None => refuse("the hello does not say who calls".to_owned()),
        }
    }
}

/// Whether a stream ended without anything wrong on it: its peer or the connection is gone.
pub(super) fn is_break(status: &Status) -> bool {
    matches!(status.code(), Code::Cancelled | Code::Unknown | Code::Unavailable)
}

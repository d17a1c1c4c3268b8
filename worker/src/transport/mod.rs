//! The transport between workers: gRPC streams that carry frames, ledger messages and control messages.
//!
//! Owns: connections, the hello, numbered links, credits and pings at work. Leaves to others: what a message means
//! ([`Inbound`]), frames' form on the wire, links and credits as such (`waterspout_core`).
//!
//! ```text
//! worker A                                   worker B
//!   Outgoing(B) ── Data: frames ───────────────> incoming: checks, hands frames in
//!               <───────── credit ──────────────
//!   Outgoing(B) ── Link: 1, 2, 3.. control ping > incoming: each number once, in order
//!               <───────── received, pong ──────
//! ```
//!
//! and the same from B to A. Invariants: sending never blocks; what reads the network never waits for a task; what
//! a peer in another life sent or was sent is dropped, and counted as lost.

mod door;
mod grpc;
mod guarded;
mod incoming;
mod outgoing;
mod peer;
mod queues;
mod secured;
#[cfg(test)]
pub(crate) mod simulated;
mod tls;

/// The generated messages.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
pub(crate) mod proto {
    tonic::include_proto!("waterspout.v1");
}

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio_stream::StreamExt;
use tonic::transport::Server;
use waterspout_core::frame::Frame;
use waterspout_core::ledger::LedgerEntry;
use waterspout_core::placement::WorkerIndex;

use crate::gate::Gate;
use crate::rim::{self, Tasks};
pub(crate) use grpc::Dial;
use grpc::Grpc;
pub(crate) use incoming::Incoming;
use outgoing::Outgoing;
pub use peer::{Origin, PeerId, PeerStatus};
use tls::Identity;
pub use tls::{TLS_NAME, TlsFiles};

/// The version of the messages and frames that this worker speaks.
pub const PROTOCOL_VERSION: u32 = 1;

/// The largest message: many frames, or one with a row of 16 MiB.
const MAX_MESSAGE: usize = 32 << 20;

/// Why frames do not belong here, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// It may pass soon.
    Now(String),
    /// It will not pass.
    Ever(String),
}

/// What becomes of frames that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// They belong here.
    Take,
    /// They are of an epoch that has ended here: they are dropped, and their sender gets its credit back.
    Drop,
}

/// Why a control message is not taken.
#[derive(Debug, Error)]
pub enum ControlFault {
    /// It is none.
    #[error("a control message is wrong")]
    Wrong(#[from] serde_json::Error),
    /// More wait than may.
    #[error("{messages} control messages wait to be read here, and that is the most")]
    TooMany {
        /// How many.
        messages: usize,
    },
}

/// What the transport hands in. Every call returns soon.
pub trait Inbound: Send + Sync + 'static {
    /// A frame of `epoch` for a task of this worker.
    fn frame(&self, origin: Origin, epoch: u64, target: u32, frame: Frame);
    /// Entries for the ledgers of this worker.
    fn entries(&self, entries: Vec<LedgerEntry>);
    /// A worker says that what was in flight at `about` is lost.
    fn lost(&self, about: PeerId);
    /// A control message.
    ///
    /// # Errors
    /// If it is none, or there is no room for it.
    fn control(&self, from: PeerId, message: Vec<u8>) -> Result<(), ControlFault>;
    /// There is a connection to a worker.
    fn peer_up(&self, peer: PeerId);
    /// The connection to a worker is lost.
    fn peer_down(&self, peer: PeerId, reason: &str);
    /// Whether frames of this peer and epoch belong here now.
    ///
    /// # Errors
    /// Why not.
    fn admits(&self, peer: PeerId, epoch: u64) -> Result<Admission, Refused>;
    /// Whether a worker has a part in what runs here, in whichever life. What others say of roots does not count.
    fn has_part(&self, peer: PeerId) -> bool;
    /// How many fields the rows of a stream have; `None` if there is no such stream.
    fn fields(&self, stream: u16) -> Option<usize>;
    /// Whether a task runs on this worker.
    fn is_here(&self, task: u32) -> bool;
    /// What a task keeps that rests in this epoch of this revision.
    ///
    /// # Errors
    /// Why it is not to be had.
    fn state(&self, revision: &str, epoch: u64, task: u32) -> Result<Arc<[u8]>, Refused>;
}

/// What a transport is told when it starts.
#[derive(Debug, Clone)]
pub struct TransportConfig {
    /// This worker in this life.
    pub me: PeerId,
    /// The topology's name.
    pub topology: String,
    /// Where to listen.
    pub listen: SocketAddr,
    /// The files for mutual TLS.
    pub tls: Option<TlsFiles>,
    /// How often a peer is pinged.
    pub ping: Duration,
    /// After how long without an answer a peer is lost.
    pub lost_after: Duration,
    /// Frames in flight to one task of a peer after which who sends to it is not started.
    pub window_frames: usize,
    /// Bytes in flight to one task of a peer after which who sends to it is not started.
    pub window_bytes: usize,
}

impl TransportConfig {
    /// A configuration with the defaults.
    pub fn new(me: PeerId, topology: &str, listen: SocketAddr, tls: Option<TlsFiles>) -> Self {
        Self {
            me,
            topology: topology.to_owned(),
            listen,
            tls,
            ping: Duration::from_millis(500),
            lost_after: Duration::from_millis(2_500),
            window_frames: 128,
            window_bytes: 1 << 20,
        }
    }
}

/// Why a transport cannot start.
#[derive(Debug, Error)]
pub enum TransportError {
    /// The address cannot be listened on.
    #[error("listen on {address}; is the port in use? take another one, or 0 for a free one")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A file of the worker's identity cannot be read.
    #[error("read '{}'", path.display())]
    ReadTlsFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The worker's identity cannot be used.
    #[error("use the certificate, the key and the authority that were given")]
    UseTlsFiles(#[source] rustls::Error),
}

/// The connections of one worker.
pub struct Transport {
    config: TransportConfig,
    address: SocketAddr,
    /// Until peers are let in.
    listening: Mutex<Option<(Server, TcpListener)>>,
    identity: Option<Arc<Identity>>,
    dial: Arc<dyn Dial>,
    inbound: Arc<dyn Inbound>,
    epoch: AtomicU64,
    outgoing: RwLock<BTreeMap<WorkerIndex, Arc<Outgoing>>>,
    incoming: Arc<Incoming>,
    connections: Tasks,
}

impl Transport {
    /// Binds the port. Peers are let in by [`Transport::serve`], and connected to once [`Transport::set_peer`] says where
    /// they are.
    ///
    /// # Errors
    /// If the address or the worker's identity cannot be used.
    pub async fn start(
        config: TransportConfig,
        inbound: Arc<dyn Inbound>,
    ) -> Result<Arc<Self>, TransportError> {
        let address = config.listen;
        let failed = |source| TransportError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let identity = config.tls.as_ref().map(Identity::open).transpose()?;
        let dial = Arc::new(Grpc {
            identity: identity.clone(),
        });
        let transport = Self {
            listening: Mutex::new(Some((grpc::server(), listener))),
            identity,
            ..Self::new(config, inbound, dial, address)
        };
        Ok(Arc::new(transport))
    }

    /// A transport whose streams are opened by `dial`. Who serves those of its peers is not its concern.
    #[cfg(test)]
    pub(crate) fn over(
        config: TransportConfig,
        inbound: Arc<dyn Inbound>,
        dial: Arc<dyn Dial>,
        address: SocketAddr,
    ) -> Arc<Self> {
        Arc::new(Self::new(config, inbound, dial, address))
    }

    fn new(
        config: TransportConfig,
        inbound: Arc<dyn Inbound>,
        dial: Arc<dyn Dial>,
        address: SocketAddr,
    ) -> Self {
        let incoming = Arc::new(Incoming::new(config.clone(), Arc::clone(&inbound)));
        Self {
            config,
            address,
            listening: Mutex::default(),
            identity: None,
            dial,
            inbound,
            epoch: AtomicU64::new(0),
            outgoing: RwLock::default(),
            incoming,
            connections: Tasks::new(),
        }
    }

    /// Lets peers in. Until then they wait.
    pub fn serve(&self) {
        let listening = self
            .listening
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some((server, listener)) = listening else {
            return;
        };
        let serving = grpc::serve(
            server,
            listener,
            Arc::clone(&self.incoming),
            self.identity.clone(),
        );
        self.connections.spawn(serving);
    }

    /// Where this worker listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says where a peer is. It is connected to, again and again, until the transport ends.
    pub fn set_peer(&self, index: WorkerIndex, address: SocketAddr) {
        self.outgoing(index).set_address(address);
    }

    /// Begins an epoch: frames of older ones that wait to be sent are dropped, and no peer gets frames before
    /// [`Transport::allow`] names it again.
    pub fn set_epoch(&self, epoch: u64) {
        let all = self.outgoing.write().unwrap_or_else(PoisonError::into_inner);
        self.epoch.store(epoch, Ordering::SeqCst);
        self.incoming.set_epoch(epoch);
        for outgoing in all.values() {
            outgoing.set_epoch(epoch);
        }
    }

    /// Frames of this epoch that were exchanged with each life of each peer: sent, and handed in.
    ///
    /// What was handed in is counted before what was sent. So if nothing is at work here after the count, all that was
    /// handed in by then was worked off.
    pub fn traffic(&self) -> BTreeMap<PeerId, (u64, u64)> {
        let mut traffic: BTreeMap<PeerId, (u64, u64)> = BTreeMap::new();
        for (peer, received) in self.incoming.received() {
            traffic.entry(peer).or_default().1 = received;
        }
        for (peer, sent) in self.all().iter().filter_map(|outgoing| outgoing.sent()) {
            traffic.entry(peer).or_default().0 = sent;
        }
        traffic
    }

    /// Queues a frame of `epoch` for a task of a peer.
    pub fn send_frame(&self, to: WorkerIndex, epoch: u64, target: u32, frame: Frame) {
        self.outgoing(to).send_frame(epoch, target, frame);
    }

    /// What tells those who send to a task of a peer that too much is in flight to it.
    pub fn gate(&self, to: WorkerIndex, target: u32) -> Arc<Gate> {
        self.outgoing(to).gate(target)
    }

    /// Queues entries for the ledgers of a peer.
    pub fn send_entries(&self, to: WorkerIndex, entries: &[LedgerEntry]) {
        self.outgoing(to).send_entries(entries);
    }

    /// Tells every peer that what was in flight at `about` is lost, behind the last thing that it was sent.
    pub fn send_lost(&self, about: PeerId) {
        for outgoing in self.all() {
            outgoing.send_lost(about);
        }
    }

    /// Lets frames go to this life of a peer: it runs the same epoch. Until then they wait.
    pub fn allow(&self, peer: PeerId) {
        self.outgoing(peer.index).allow(peer);
    }

    /// Queues a control message. It is dropped if there is no connection.
    pub fn send_control(&self, to: WorkerIndex, message: Vec<u8>) {
        self.outgoing(to).send_control(message);
    }

    /// Asks the worker at an address for what one of its tasks keeps, where another revision rests; in the clear if workers of that
    /// revision know nothing else.
    pub async fn take_state(
        &self,
        at: SocketAddr,
        is_plain: bool,
        revision: &str,
        epoch: u64,
        task: u32,
    ) -> Result<Vec<u8>, String> {
        let request = proto::StateRequest {
            version: PROTOCOL_VERSION,
            topology: self.config.topology.clone(),
            revision: revision.to_owned(),
            epoch,
            task,
        };
        let mut parts = self.dial.state(at, is_plain, request).await?;
        let mut state = Vec::new();
        while let Some(part) = parts.next().await {
            state.extend_from_slice(&part.map_err(|status| status.message().to_owned())?.bytes);
        }
        Ok(state)
    }

    /// A task took a frame from its inbox: gives credit back.
    pub fn consumed(&self, origin: Origin, task: u32, bytes: usize) {
        self.incoming.consumed(origin, task, bytes);
    }

    /// The peers, for people and metrics.
    pub fn peers(&self) -> Vec<PeerStatus> {
        self.all().iter().map(|outgoing| outgoing.status()).collect()
    }

    /// How many streams and connections of others were ended for what came on them.
    pub fn refused(&self) -> u64 {
        self.incoming.door.refused()
    }

    /// The peers that there is a connection to.
    pub fn up(&self) -> Vec<PeerId> {
        self.all().iter().filter_map(|outgoing| outgoing.up()).collect()
    }

    /// Waits until what is queued was sent, for at most `within`, and ends all connections.
    pub async fn shutdown(&self, within: Duration) {
        let flushed = async {
            for outgoing in self.all() {
                outgoing.flushed().await;
            }
        };
        // What is not sent by then is failed by those who wait for it.
        let _ = rim::within(within, flushed).await;
        self.connections.shutdown().await;
    }

    /// What takes in the streams of peers, for a simulation to serve.
    #[cfg(test)]
    pub(crate) fn incoming(&self) -> Arc<Incoming> {
        Arc::clone(&self.incoming)
    }

    fn all(&self) -> Vec<Arc<Outgoing>> {
        self.outgoing
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    fn outgoing(&self, index: WorkerIndex) -> Arc<Outgoing> {
        if let Some(known) = self
            .outgoing
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&index)
        {
            return Arc::clone(known);
        }
        let mut all = self.outgoing.write().unwrap_or_else(PoisonError::into_inner);
        let outgoing = all.entry(index).or_insert_with(|| {
            let epoch = self.epoch.load(Ordering::SeqCst);
            let outgoing = Arc::new(Outgoing::new(index, epoch, &self.config));
            let running = Arc::clone(&outgoing);
            let (inbound, dial) = (Arc::clone(&self.inbound), Arc::clone(&self.dial));
            self.connections
                .spawn(async move { running.run(inbound, dial).await });
            outgoing
        });
        let outgoing = Arc::clone(outgoing);
        self.incoming.door.set_peers(all.len());
        outgoing
    }
}

#[cfg(test)]
mod tests;

//! What this worker sends to one other worker.
//!
//! Owns: the queues, the two connections, reconnecting, the sender's half of the link and of the credits.
//! Invariants: pushing never blocks; ledger messages survive a break of the connection, frames do not; frames for one
//! task stay in order.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio_stream::StreamExt;
use tonic::Status;
use waterspout_core::frame::{Frame, wire};
use waterspout_core::ledger::LedgerEntry;
use waterspout_core::placement::WorkerIndex;

use super::grpc::{Dial, Replies, refused};
use super::proto::{
    DataMessage, DataReply, Frames, Hello, LinkMessage, LinkReply, Numbered, data_message, data_reply,
    link_message, link_reply, numbered,
};
use super::queues::{Payload, State};
use super::{Inbound, PROTOCOL_VERSION, PeerId, PeerStatus, TransportConfig};
use crate::gate::Gate;
use crate::mutation::{Mutation, lacks};
use crate::rim::{Instant, Ticks, jittered, within};

/// Bytes after which a batch of frames is sent without looking for more.
const BATCH_BYTES: usize = 256 << 10;
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The queues and connections to one worker.
pub(super) struct Outgoing {
    index: WorkerIndex,
    config: TransportConfig,
    address: watch::Sender<Option<SocketAddr>>,
    state: Mutex<State>,
    /// There is something for the data stream.
    data_ready: Notify,
    /// There is something for the link.
    link_ready: Notify,
    /// A queue ran empty.
    emptied: Notify,
}

impl Outgoing {
    pub(super) fn new(index: WorkerIndex, epoch: u64, config: &TransportConfig) -> Self {
        Self {
            index,
            config: config.clone(),
            address: watch::Sender::new(None),
            state: Mutex::new(State {
                epoch,
                ..State::default()
            }),
            data_ready: Notify::new(),
            link_ready: Notify::new(),
            emptied: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_address(&self, address: SocketAddr) {
        self.address.send_if_modified(|known| {
            let new = *known != Some(address);
            *known = Some(address);
            new
        });
    }

    pub(super) fn gate(&self, target: u32) -> Arc<Gate> {
        Arc::clone(&self.state().towards(target, &self.config).gate)
    }

    pub(super) fn send_frame(&self, epoch: u64, target: u32, frame: Frame) {
        let mut state = self.state();
        if epoch != state.epoch {
            // Its roots are failed.
            return;
        }
        state.towards(target, &self.config).gate.add(1, frame.weight());
        state.frames.push_back((target, frame));
        state.sent += 1;
        let first = state.frames.len() == 1;
        drop(state);
        if first {
            self.data_ready.notify_one();
        }
    }

    pub(super) fn send_entries(&self, entries: &[LedgerEntry]) {
        let mut state = self.state();
        let first = state.entries.is_empty();
        state.entries.extend_from_slice(entries);
        drop(state);
        if first {
            self.link_ready.notify_one();
        }
    }

    pub(super) fn send_lost(&self, about: PeerId) {
        let mut state = self.state();
        state.close_entries();
        state.link.push(Payload::Lost(about));
        drop(state);
        self.link_ready.notify_one();
    }

    pub(super) fn send_control(&self, message: Vec<u8>) {
        let mut state = self.state();
        if state.up.is_some() {
            state.control.push_back(message);
            drop(state);
            self.link_ready.notify_one();
        }
    }

    pub(super) fn allow(&self, peer: PeerId) {
        self.state().allowed = Some(peer);
        self.data_ready.notify_one();
    }

    pub(super) fn up(&self) -> Option<PeerId> {
        self.state().up
    }

    pub(super) fn set_epoch(&self, epoch: u64) {
        self.state().begin(epoch);
    }

    /// How many frames of the epoch went or will go to which life of the peer.
    pub(super) fn sent(&self) -> Option<(PeerId, u64)> {
        let state = self.state();
        Some((state.known?, state.sent))
    }

    pub(super) fn status(&self) -> PeerStatus {
        let state = self.state();
        PeerStatus {
            worker: self.index.0,
            up: state.up.is_some(),
            starts: state.known.map_or(0, |peer| peer.incarnation.start),
            queued_frames: state.frames.len(),
            unconfirmed: state.link.unacked(),
            losses: state.losses,
            sent_frames: state.sent_in_all.0,
            sent_bytes: state.sent_in_all.1,
        }
    }

    /// Waits until everything is on its way, or there is nobody to send to.
    pub(super) async fn flushed(&self) {
        loop {
            let emptied = self.emptied.notified();
            {
                let state = self.state();
                let empty = state.frames.is_empty() && state.entries.is_empty() && state.control.is_empty();
                if state.up.is_none() || (empty && state.link.unacked() == 0) {
                    return;
                }
            }
            emptied.await;
        }
    }

    /// Connects, and connects again, until the transport ends.
    pub(super) async fn run(self: Arc<Self>, inbound: Arc<dyn Inbound>, dial: Arc<dyn Dial>) {
        let mut addresses = self.address.subscribe();
        let mut pause = FIRST_PAUSE;
        loop {
            let address = *addresses.borrow_and_update();
            let Some(address) = address else {
                if addresses.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let lived = self.connect(address, dial.as_ref(), &inbound).await;
            pause = if lived {
                FIRST_PAUSE
            } else {
                (pause * 2).min(LONGEST_PAUSE)
            };
            // A new address is tried at once.
            let _ = within(jittered(pause), addresses.changed()).await;
        }
    }

    /// One life of the two connections. True if they came up.
    async fn connect(&self, address: SocketAddr, dial: &dyn Dial, inbound: &Arc<dyn Inbound>) -> bool {
        let opened = within(self.config.lost_after, self.open(address, dial)).await;
        let (peer, link, data) = match opened {
            Some(Ok(opened)) => opened,
            Some(Err(reason)) => {
                tracing::debug!(worker = self.index.0, %address, reason, "no connection to a worker yet");
                return false;
            }
            None => return false,
        };
        {
            let mut state = self.state();
            let waiting = state.frames.len() as u64;
            if state.known == Some(peer) && !lacks(Mutation::NoNumbers) {
                state.link.reconnected_same(link.last_received);
                state.sent = data.received + waiting;
            } else {
                state.link.reconnected_new();
                state.known = Some(peer);
                state.sent = waiting;
            }
            state.up = Some(peer);
        }
        inbound.peer_up(peer);
        let reason = tokio::select! {
            biased;
            reason = self.run_link(link.out, link.replies) => reason,
            reason = self.run_data(data.out, data.replies) => reason,
            () = self.moved(address) => "it has another address now".to_owned(),
        };
        self.state().close();
        self.emptied.notify_waiters();
        inbound.peer_down(peer, &reason);
        true
    }

    /// Ready when the peer is somewhere else: its process is another one.
    async fn moved(&self, address: SocketAddr) {
        let mut addresses = self.address.subscribe();
        let moved = addresses.wait_for(|known| *known != Some(address)).await.is_ok();
        if !moved {
            std::future::pending::<()>().await;
        }
    }

    async fn open(&self, address: SocketAddr, dial: &dyn Dial) -> Result<(PeerId, Link, Data), String> {
        let hello = Hello {
            version: PROTOCOL_VERSION,
            topology: self.config.topology.clone(),
            from: Some(self.config.me.into()),
            to: self.index.0,
        };
        let (out, messages) = mpsc::channel(16);
        let first = LinkMessage {
            kind: Some(link_message::Kind::Hello(hello.clone())),
        };
        out.send(first).await.map_err(|error| error.to_string())?;
        let mut replies = dial.link(address, messages).await?;
        let (peer, last_received) = match next(&mut replies).await.map_err(|status| refused(&status))? {
            Some(LinkReply {
                kind: Some(link_reply::Kind::Welcome(welcome)),
            }) => (welcome.me.as_ref().map(PeerId::from), welcome.last_received),
            _ => (None, 0),
        };
        let peer = peer.ok_or("the answer to the hello of the link is none")?;
        let link = Link {
            out,
            replies,
            last_received,
        };

        let (out, messages) = mpsc::channel(2);
        let first = DataMessage {
            kind: Some(data_message::Kind::Hello(hello)),
        };
        out.send(first).await.map_err(|error| error.to_string())?;
        let mut replies = dial.data(address, messages).await?;
        let received = match next(&mut replies).await.map_err(|status| refused(&status))? {
            Some(DataReply {
                kind: Some(data_reply::Kind::Welcome(welcome)),
            }) if welcome.me.as_ref().map(PeerId::from) == Some(peer) => welcome.last_received,
            _ => return Err("the answers to the two hellos are not of one worker".to_owned()),
        };
        let data = Data {
            out,
            replies,
            received,
        };
        Ok((peer, link, data))
    }

    /// Sends frames and takes credit until the stream breaks.
    async fn run_data(&self, out: mpsc::Sender<DataMessage>, mut replies: Replies<DataReply>) -> String {
        let send = async {
            loop {
                match self.next_frames() {
                    Some(message) => {
                        if out.send(message).await.is_err() {
                            // The other half says why.
                            std::future::pending::<()>().await;
                        }
                    }
                    None => {
                        self.emptied.notify_waiters();
                        self.data_ready.notified().await;
                    }
                }
            }
        };
        let receive = async {
            loop {
                match next(&mut replies).await {
                    Ok(Some(DataReply {
                        kind: Some(data_reply::Kind::Credits(credits)),
                    })) => {
                        let mut state = self.state();
                        for credit in credits.credits {
                            let towards = state.towards(credit.task, &self.config);
                            match towards.credit.consumed(credit.frames, credit.bytes) {
                                Ok((frames, bytes)) => towards.gate.remove(frames as usize, bytes as usize),
                                Err(fault) => return fault.to_string(),
                            }
                        }
                    }
                    Ok(Some(_)) => return "an answer on the data stream is none".to_owned(),
                    Ok(None) => return "the data stream ended".to_owned(),
                    Err(status) => return refused(&status),
                }
            }
        };
        tokio::select! {
            biased;
            reason = receive => reason,
            () = send => String::new(),
        }
    }

    /// The next batch: whatever is queued, up to a bound.
    fn next_frames(&self) -> Option<DataMessage> {
        let mut state = self.state();
        if state.allowed.is_none() || state.allowed != state.up {
            return None;
        }
        state.frames.front()?;
        let epoch = state.epoch;
        let mut weight = 0;
        for (_, frame) in &state.frames {
            weight += frame.weight();
            if weight >= BATCH_BYTES {
                break;
            }
        }
        // A frame takes less on the wire than it weighs.
        let mut batch = Vec::with_capacity(weight);
        while batch.len() < BATCH_BYTES
            && let Some(&(target, ref frame)) = state.frames.front()
        {
            wire::encode(frame, target, &mut batch);
            let weight = frame.weight();
            state.frames.pop_front();
            state.sent_in_all.0 += 1;
            state.towards(target, &self.config).credit.sent(weight as u64);
        }
        state.sent_in_all.1 += batch.len() as u64;
        let frames = Frames {
            epoch,
            frames: batch.into(),
        };
        Some(DataMessage {
            kind: Some(data_message::Kind::Frames(frames)),
        })
    }

    /// Sends ledger messages, control messages and pings until the stream breaks or is silent.
    async fn run_link(&self, out: mpsc::Sender<LinkMessage>, mut replies: Replies<LinkReply>) -> String {
        let heard = Mutex::new(Instant::now());
        let ping = async {
            let mut ticks = Ticks::new(self.config.ping);
            for number in 0u64.. {
                ticks.tick().await;
                let silent = heard.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
                if silent >= self.config.lost_after {
                    break;
                }
                // A full channel means that the peer does not read; then it does not answer either.
                let _ = out.try_send(LinkMessage {
                    kind: Some(link_message::Kind::Ping(number)),
                });
            }
            format!(
                "it did not answer for {:.1} s",
                self.config.lost_after.as_secs_f64()
            )
        };
        let send = async {
            loop {
                match self.next_link_message() {
                    Some(message) => {
                        if out.send(message).await.is_err() {
                            // The other half says why.
                            std::future::pending::<()>().await;
                        }
                    }
                    None => self.link_ready.notified().await,
                }
            }
        };
        let receive = async {
            loop {
                match next(&mut replies).await {
                    Ok(Some(reply)) => {
                        *heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
                        if let Some(link_reply::Kind::Received(number)) = reply.kind {
                            self.state().link.acked(number);
                            self.emptied.notify_waiters();
                        }
                    }
                    Ok(None) => return "the link ended".to_owned(),
                    Err(status) => return refused(&status),
                }
            }
        };
        tokio::select! {
            biased;
            reason = receive => reason,
            reason = ping => reason,
            () = send => String::new(),
        }
    }

    fn next_link_message(&self) -> Option<LinkMessage> {
        let mut state = self.state();
        if let Some(message) = state.control.pop_front() {
            return Some(LinkMessage {
                kind: Some(link_message::Kind::Control(message.into())),
            });
        }
        state.close_entries();
        let (number, payload) = state.link.next_to_send()?;
        let payload = match payload {
            Payload::Entries(entries) => numbered::Payload::Entries(entries.clone()),
            Payload::Lost(about) => numbered::Payload::Lost((*about).into()),
        };
        let numbered = Numbered {
            number,
            payload: Some(payload),
        };
        Some(LinkMessage {
            kind: Some(link_message::Kind::Numbered(numbered)),
        })
    }
}

async fn next<T>(replies: &mut Replies<T>) -> Result<Option<T>, Status> {
    replies.next().await.transpose()
}

struct Link {
    out: mpsc::Sender<LinkMessage>,
    replies: Replies<LinkReply>,
    last_received: u64,
}

struct Data {
    out: mpsc::Sender<DataMessage>,
    replies: Replies<DataReply>,
    /// Frames of this epoch that the peer had taken when the stream began.
    received: u64,
}

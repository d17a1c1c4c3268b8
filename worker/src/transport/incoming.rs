//! What other workers send to this one.
//!
//! Owns: the called half of both streams, the check of every byte behind the hello ([`super::door`]), the receiver's
//! half of links and credits. Invariants: the reader of a stream never waits for a task; bytes that are wrong end their stream and harm
//! nobody else; each ledger message is handed in once, in order.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::Status;
use waterspout_core::credit::CreditReceiver;
use waterspout_core::epoch::Incarnation;
use waterspout_core::frame::wire;
use waterspout_core::link::{LinkReceiver, Verdict};
use waterspout_core::placement::WorkerIndex;

use super::door::{Door, is_break};
use super::grpc::Replies;
use super::proto::{
    Credit, Credits, DataMessage, DataReply, Frames, LinkMessage, LinkReply, Numbered, StatePart,
    StateRequest, Welcome, data_message, data_reply, link_message, link_reply, numbered,
};
use super::{Admission, ControlFault, Inbound, Origin, PeerId, Refused, TransportConfig};
use crate::mutation::{Mutation, lacks};
use crate::rim::{Instant, sleep};

/// Ledger messages after which the sender hears that it may forget them.
const CONFIRM_EVERY: u64 = 32;
/// Bytes of a state that go in one message.
const PART: usize = 1 << 20;
/// Most pods whose links are remembered, beside those that have a part in what runs here.
const MAX_LINKS: usize = 1024;
/// How soon it is asked again whether frames belong here.
const ADMISSION: Duration = Duration::from_millis(2);

/// The receiving side of all connections.
pub(crate) struct Incoming {
    config: TransportConfig,
    inbound: Arc<dyn Inbound>,
    /// By pod: only the lives of one pod have an order among themselves.
    links: Mutex<BTreeMap<(WorkerIndex, u64), LinkReceiver<u64>>>,
    /// By number.
    connections: Mutex<BTreeMap<u64, Arc<Connection>>>,
    next_connection: AtomicU64,
    received: Mutex<Received>,
    pub(super) door: Arc<Door>,
}

/// Frames of one epoch that were handed in, by the life that sent them.
#[derive(Default)]
struct Received {
    epoch: u64,
    from: BTreeMap<PeerId, u64>,
}

/// One data stream.
struct Connection {
    number: u64,
    credits: Mutex<BTreeMap<u32, CreditReceiver>>,
    /// There is credit worth a message.
    due: Notify,
}

impl Incoming {
    pub(super) fn new(config: TransportConfig, inbound: Arc<dyn Inbound>) -> Self {
        let door = Door::new(config.clone());
        Self {
            config,
            inbound,
            links: Mutex::default(),
            connections: Mutex::default(),
            next_connection: AtomicU64::new(1),
            received: Mutex::default(),
            door,
        }
    }

    pub(super) fn set_epoch(&self, epoch: u64) {
        *lock(&self.received) = Received {
            epoch,
            from: BTreeMap::new(),
        };
    }

    /// Frames of this epoch that were handed in, by the life that sent them.
    pub(super) fn received(&self) -> BTreeMap<PeerId, u64> {
        lock(&self.received).from.clone()
    }

    pub(super) fn consumed(&self, origin: Origin, task: u32, bytes: usize) {
        let connection = lock(&self.connections).get(&origin.connection).cloned();
        let Some(connection) = connection else {
            return;
        };
        let due = {
            let mut credits = lock(&connection.credits);
            let credit = credits.entry(task).or_default();
            credit.consumed(bytes as u64);
            credit.is_due(
                self.config.window_frames as u64 / 4,
                self.config.window_bytes as u64 / 4,
            )
        };
        if due {
            connection.due.notify_one();
        }
    }

    fn welcome(&self, last_received: u64) -> Welcome {
        Welcome {
            me: Some(self.config.me.into()),
            last_received,
        }
    }

    fn open(&self) -> Arc<Connection> {
        let connection = Arc::new(Connection {
            number: self.next_connection.fetch_add(1, Ordering::Relaxed),
            credits: Mutex::default(),
            due: Notify::new(),
        });
        lock(&self.connections).insert(connection.number, Arc::clone(&connection));
        connection
    }

    /// Waits until frames of this peer and epoch belong here.
    async fn admitted(&self, from: PeerId, epoch: u64) -> Result<Admission, Status> {
        let deadline = Instant::now() + self.config.lost_after;
        loop {
            match self.inbound.admits(from, epoch) {
                Ok(admission) => return Ok(admission),
                Err(Refused::Now(_)) if Instant::now() < deadline => sleep(ADMISSION).await,
                Err(Refused::Now(reason) | Refused::Ever(reason)) => {
                    return Err(Status::failed_precondition(reason));
                }
            }
        }
    }

    /// Checks a batch of frames and hands them in, or drops them.
    fn take_frames(
        &self,
        from: PeerId,
        connection: &Connection,
        batch: &Frames,
        admission: Admission,
    ) -> Result<(), Status> {
        let mut rest: &[u8] = &batch.frames;
        let mut taken = 0;
        while !rest.is_empty() {
            let (target, frame) = wire::decode(&mut rest, |stream| self.inbound.fields(stream))
                .map_err(|fault| Status::invalid_argument(format!("a frame is wrong: {fault}")))?;
            let origin = Origin {
                worker: from.index,
                connection: connection.number,
            };
            if admission == Admission::Drop {
                self.consumed(origin, target, frame.weight());
                continue;
            }
            if !self.inbound.is_here(target) {
                return Err(Status::invalid_argument(format!(
                    "task {target} does not run on this worker"
                )));
            }
            self.inbound.frame(origin, batch.epoch, target, frame);
            taken += 1;
        }
        // After they were handed in: what is counted is at work, or worked off.
        let mut received = lock(&self.received);
        if received.epoch == batch.epoch {
            *received.from.entry(from).or_default() += taken;
        }
        Ok(())
    }

    /// Takes a ledger message, if it is the next one. The number of the last one that was taken.
    fn take_numbered(&self, from: PeerId, message: Numbered) -> Result<u64, Status> {
        let mut links = lock(&self.links);
        let pod = (from.index, from.incarnation.uid);
        if links.len() >= MAX_LINKS && !links.contains_key(&pod) {
            links.retain(|&(index, uid), _| {
                let incarnation = Incarnation { uid, start: 0 };
                self.inbound.has_part(PeerId { index, incarnation })
            });
        }
        let link = links.entry(pod).or_default();
        match link.receive(message.number, from.incarnation.start) {
            Verdict::Accept => {}
            _ if lacks(Mutation::NoNumbers) => {}
            Verdict::Duplicate => return Ok(link.last_received()),
            Verdict::Gap { expected } => {
                let number = message.number;
                return Err(Status::data_loss(format!(
                    "ledger message {number} came in place of {expected}"
                )));
            }
            Verdict::Stale => return Err(Status::failed_precondition("a later life of the caller was seen")),
        }
        let last = link.last_received();
        // Who has no part in what runs here says nothing of its roots, whatever it claims to be.
        let counts = self.inbound.has_part(from);
        // Handed in under the lock: the order of two connections of one worker is the order of their numbers.
        match message.payload {
            Some(numbered::Payload::Entries(bytes)) => {
                let entries = wire::decode_entries(&bytes).map_err(|fault| {
                    Status::invalid_argument(format!("ledger entries are wrong: {fault}"))
                })?;
                if counts {
                    self.inbound.entries(entries);
                }
            }
            Some(numbered::Payload::Lost(about)) if counts => self.inbound.lost((&about).into()),
            Some(numbered::Payload::Lost(_)) => {}
            None => return Err(Status::invalid_argument("a ledger message is empty")),
        }
        Ok(last)
    }

    fn last_received(&self, from: PeerId) -> Result<u64, Status> {
        let mut links = lock(&self.links);
        let pod = (from.index, from.incarnation.uid);
        // It is remembered from its first message on.
        links
            .get_mut(&pod)
            .map_or(Some(0), |link| link.resume(from.incarnation.start))
            .ok_or_else(|| Status::failed_precondition("a later life of the caller was seen"))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Incoming {
    /// Hands out what a task keeps that rests.
    ///
    /// # Errors
    /// If it is not to be had, and why.
    pub(super) fn state(&self, request: &StateRequest) -> Result<Replies<StatePart>, Status> {
        let kin = self.door.check_kin(request.version, &request.topology);
        kin.inspect_err(|status| self.door.count(status))?;
        let state = self.inbound.state(&request.revision, request.epoch, request.task);
        let state = state.map_err(|refused| match refused {
            Refused::Now(why) => Status::unavailable(why),
            Refused::Ever(why) => Status::failed_precondition(why),
        })?;
        let starts = (0..state.len()).step_by(PART);
        let parts = starts.map(move |start| {
            let end = state.len().min(start + PART);
            let bytes = state[start..end].to_vec().into();
            Ok(StatePart { bytes })
        });
        Ok(Box::pin(tokio_stream::iter(parts)))
    }

    /// Serves a data stream: reads `messages`, and answers. The work is done by whoever reads the answers.
    ///
    /// # Errors
    /// If the caller is nobody who may call.
    pub(crate) async fn data(
        self: Arc<Self>,
        mut messages: impl Stream<Item = Result<DataMessage, Status>> + Send + Unpin + 'static,
    ) -> Result<Replies<DataReply>, Status> {
        let incoming = self;
        let hello = |message: DataMessage| match message.kind {
            Some(data_message::Kind::Hello(hello)) => Some(hello),
            _ => None,
        };
        let (from, entered) = incoming.door.enter(&mut messages, hello).await?;
        let connection = incoming.open();
        let received = lock(&incoming.received).from.get(&from).copied();
        let welcome = data_reply::Kind::Welcome(incoming.welcome(received.unwrap_or(0)));
        let first = tokio_stream::once(Ok(DataReply { kind: Some(welcome) }));
        // One future does both halves, so that none outlives the stream.
        let (replies, stream) = mpsc::channel(4);
        let work = async move {
            let _entered = entered;
            let read = async {
                loop {
                    match messages.next().await.transpose() {
                        Ok(Some(DataMessage {
                            kind: Some(data_message::Kind::Frames(batch)),
                        })) => {
                            let taken = match incoming.admitted(from, batch.epoch).await {
                                Ok(admission) => incoming.take_frames(from, &connection, &batch, admission),
                                Err(refused) => Err(refused),
                            };
                            if let Err(status) = taken {
                                return Some(status);
                            }
                        }
                        Ok(Some(_)) => {
                            return Some(Status::invalid_argument("a message on the data stream is none"));
                        }
                        Ok(None) => return None,
                        Err(status) => return Some(status),
                    }
                }
            };
            let grant = async {
                loop {
                    connection.due.notified().await;
                    let credits: Vec<Credit> = lock(&connection.credits)
                        .iter_mut()
                        .filter_map(|(&task, credit)| {
                            credit
                                .report()
                                .map(|(frames, bytes)| Credit { task, frames, bytes })
                        })
                        .collect();
                    if credits.is_empty() {
                        continue;
                    }
                    let reply = DataReply {
                        kind: Some(data_reply::Kind::Credits(Credits { credits })),
                    };
                    if replies.send(Ok(reply)).await.is_err() {
                        return None;
                    }
                }
            };
            let end: Option<Status> = tokio::select! { biased; end = read => end, end = grant => end };
            lock(&incoming.connections).remove(&connection.number);
            if let Some(status) = end.filter(|status| !is_break(status)) {
                tracing::warn!(from = %from, reason = status.message(), "refused frames");
                incoming.door.count(&status);
                // Nobody may be there to hear it.
                let _ = replies.send(Err(status)).await;
            }
        };
        Ok(Box::pin(
            first.chain(with_work(ReceiverStream::new(stream), work)),
        ))
    }

    /// Serves a link; see [`Incoming::data`].
    ///
    /// # Errors
    /// If the caller is nobody who may call.
    pub(crate) async fn link(
        self: Arc<Self>,
        mut messages: impl Stream<Item = Result<LinkMessage, Status>> + Send + Unpin + 'static,
    ) -> Result<Replies<LinkReply>, Status> {
        let incoming = self;
        let hello = |message: LinkMessage| match message.kind {
            Some(link_message::Kind::Hello(hello)) => Some(hello),
            _ => None,
        };
        let (from, entered) = incoming.door.enter(&mut messages, hello).await?;
        let last_received = incoming
            .last_received(from)
            .inspect_err(|status| incoming.door.count(status))?;
        let welcome = link_reply::Kind::Welcome(incoming.welcome(last_received));
        let first = tokio_stream::once(Ok(LinkReply { kind: Some(welcome) }));
        let (replies, stream) = mpsc::channel(16);
        let work = async move {
            let _entered = entered;
            let mut confirmed = last_received;
            let mut received = last_received;
            loop {
                let reply = match messages.next().await.transpose() {
                    Ok(Some(LinkMessage {
                        kind: Some(link_message::Kind::Numbered(message)),
                    })) => {
                        match incoming.take_numbered(from, message) {
                            Ok(last) => received = last,
                            Err(status) => break Some(status),
                        }
                        if received < confirmed + CONFIRM_EVERY {
                            continue;
                        }
                        confirmed = received;
                        link_reply::Kind::Received(received)
                    }
                    Ok(Some(LinkMessage {
                        kind: Some(link_message::Kind::Ping(number)),
                    })) => {
                        if received > confirmed {
                            confirmed = received;
                            let reply = LinkReply {
                                kind: Some(link_reply::Kind::Received(received)),
                            };
                            if replies.send(Ok(reply)).await.is_err() {
                                break None;
                            }
                        }
                        link_reply::Kind::Pong(number)
                    }
                    Ok(Some(LinkMessage {
                        kind: Some(link_message::Kind::Control(message)),
                    })) => match incoming.inbound.control(from, message.into()) {
                        Ok(()) => continue,
                        Err(fault @ ControlFault::Wrong(_)) => {
                            break Some(Status::invalid_argument(crate::worker::chain(&fault)));
                        }
                        Err(fault @ ControlFault::TooMany { .. }) => {
                            break Some(Status::resource_exhausted(fault.to_string()));
                        }
                    },
                    Ok(Some(_)) => break Some(Status::invalid_argument("a message on the link is none")),
                    Ok(None) => break None,
                    Err(status) => break Some(status),
                };
                if replies.send(Ok(LinkReply { kind: Some(reply) })).await.is_err() {
                    break None;
                }
            }
            .into_iter()
            .filter(|status| !is_break(status))
            .for_each(|status| {
                tracing::warn!(from = %from, reason = status.message(), "refused a message on the link");
                incoming.door.count(&status);
                // Nobody may be there to hear it.
                let _ = replies.try_send(Err(status));
            });
        };
        Ok(Box::pin(
            first.chain(with_work(ReceiverStream::new(stream), work)),
        ))
    }
}

/// A stream that drives the work that feeds it, and ends with it.
struct Worked<S> {
    stream: S,
    work: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

fn with_work<S>(stream: S, work: impl Future<Output = ()> + Send + 'static) -> Worked<S> {
    Worked {
        stream,
        work: Some(Box::pin(work)),
    }
}

impl<S: Stream + Unpin> Stream for Worked<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        if let Some(work) = &mut self.work
            && work.as_mut().poll(context).is_ready()
        {
            self.work = None;
        }
        Pin::new(&mut self.stream).poll_next(context)
    }
}

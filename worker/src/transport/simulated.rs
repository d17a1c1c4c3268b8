//! The network between simulated workers: what stands in place of gRPC, TCP and the cables.
//!
//! Owns: connections, how long a message is on its way, what is held back, lost, doubled and cut. Leaves to others: what is
//! in the messages, which are those that go over gRPC else ([`super::grpc`]).
//!
//! A stream keeps its order, as TCP does; two streams keep none between them. A message that is lost takes its connection
//! with it a little later, and what comes behind it may still arrive before: that is more than TCP allows, and what the
//! numbers of a link are for.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt};
use tonic::Status;

use super::grpc::{Dial, Opening, Replies};
use super::incoming::Incoming;
use super::proto::{
    DataMessage, DataReply, LinkMessage, LinkReply, StatePart, StateRequest, data_message, link_message,
};
use crate::simulation::rim::{self, ProcessId, Sleep};

/// Messages of one stream that are on their way; more wait at the sender, as for a window of HTTP/2.
const WINDOW: usize = 64;

/// The state of the way from one worker to another.
#[derive(Debug, Clone, Copy, Default)]
struct Way {
    /// Nothing arrives before, in microseconds.
    cut_until: u64,
    /// Messages take longer until then.
    slow_until: u64,
    slow_micros: u64,
    /// One of so many messages is lost until then.
    lossy_until: u64,
    one_lost_of: u64,
    /// One of so many messages comes twice until then.
    doubling_until: u64,
    one_doubled_of: u64,
}

struct Endpoint {
    process: ProcessId,
    worker: u32,
    incoming: Arc<Incoming>,
}

struct Connection {
    processes: [ProcessId; 2],
    workers: [u32; 2],
    ends: Arc<Ends>,
}

/// What has gone wrong so far, for people.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mishaps {
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) broken: u64,
}

#[derive(Default)]
struct State {
    endpoints: BTreeMap<SocketAddr, Endpoint>,
    ways: BTreeMap<(u32, u32), Way>,
    connections: BTreeMap<u64, Connection>,
    next: u64,
    mishaps: Mishaps,
}

/// The network of one simulated world.
#[derive(Clone, Default)]
pub(crate) struct Network(Arc<Mutex<State>>);

impl Network {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on a process takes connections.
    pub(crate) fn listen(
        &self,
        address: SocketAddr,
        process: ProcessId,
        worker: u32,
        incoming: Arc<Incoming>,
    ) {
        let endpoint = Endpoint {
            process,
            worker,
            incoming,
        };
        self.state().endpoints.insert(address, endpoint);
    }

    /// A process is over: its connections end, behind what it had sent.
    pub(crate) fn end_process(&self, process: ProcessId) {
        let mut state = self.state();
        state.endpoints.retain(|_, endpoint| endpoint.process != process);
        let connections = state.connections.values();
        let of_process = connections.filter(|connection| connection.processes.contains(&process));
        let ends: Vec<_> = of_process
            .map(|connection| Arc::clone(&connection.ends))
            .collect();
        drop(state);
        for ends in ends {
            ends.hang_up();
        }
    }

    /// Breaks the connections between two workers, with all that is on its way.
    pub(crate) fn cut_connections(&self, a: u32, b: u32) {
        let mut state = self.state();
        let connections = state.connections.values();
        let between = connections.filter(|one| one.workers == [a, b] || one.workers == [b, a]);
        let ends: Vec<_> = between.map(|connection| Arc::clone(&connection.ends)).collect();
        state.mishaps.broken += ends.len() as u64;
        drop(state);
        for ends in ends {
            ends.break_off();
        }
    }

    fn each_way(&self, a: u32, b: u32, change: impl Fn(&mut Way)) {
        let mut state = self.state();
        for way in [(a, b), (b, a)] {
            change(state.ways.entry(way).or_default());
        }
    }

    /// Nothing goes from one worker to the other until then.
    pub(crate) fn cut(&self, from: u32, to: u32, until: u64) {
        let mut state = self.state();
        let way = state.ways.entry((from, to)).or_default();
        way.cut_until = way.cut_until.max(until);
    }

    /// Between two workers messages take up to so much longer until then.
    pub(crate) fn slow_down(&self, a: u32, b: u32, until: u64, micros: u64) {
        self.each_way(a, b, |way| (way.slow_until, way.slow_micros) = (until, micros));
    }

    /// Between two workers one of so many messages is lost until then.
    pub(crate) fn lose(&self, a: u32, b: u32, until: u64, one_of: u64) {
        self.each_way(a, b, |way| (way.lossy_until, way.one_lost_of) = (until, one_of));
    }

    /// Between two workers one of so many messages comes twice until then.
    pub(crate) fn double(&self, a: u32, b: u32, until: u64, one_of: u64) {
        self.each_way(a, b, |way| {
            (way.doubling_until, way.one_doubled_of) = (until, one_of)
        });
    }

    pub(crate) fn mishaps(&self) -> Mishaps {
        self.state().mishaps
    }

    fn way(&self, from: u32, to: u32) -> Way {
        self.state().ways.get(&(from, to)).copied().unwrap_or_default()
    }

    /// When a message that is sent now arrives, if nothing holds it up.
    fn arrival(&self, from: u32, to: u32) -> u64 {
        let (now, way) = (rim::now(), self.way(from, to));
        let usual = 30 + rim::below(200);
        let more = if now < way.slow_until {
            rim::below(way.slow_micros)
        } else {
            0
        };
        now + usual + more
    }

    fn close(&self, connection: u64) {
        self.state().connections.remove(&connection);
    }
}

/// What both pipes of a connection share.
#[derive(Default)]
struct Ends {
    state: Mutex<Ended>,
}

#[derive(Default)]
struct Ended {
    /// Nothing arrives any more.
    is_broken: bool,
    /// One end is gone: what it had sent still arrives.
    is_hung_up: bool,
    /// Of each pipe who writes and who reads.
    waiting: [Option<Waker>; 4],
}

impl Ends {
    fn state(&self) -> MutexGuard<'_, Ended> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, change: impl FnOnce(&mut Ended)) {
        let mut state = self.state();
        change(&mut state);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().flatten().for_each(Waker::wake);
    }

    fn break_off(&self) {
        self.end(|state| state.is_broken = true);
    }

    fn hang_up(&self) {
        self.end(|state| state.is_hung_up = true);
    }
}

/// One direction of a stream.
struct Pipe<T> {
    network: Network,
    from: u32,
    to: u32,
    /// 0 from the caller, 2 to it.
    side: usize,
    ends: Arc<Ends>,
    flow: Mutex<Flow<T>>,
}

struct Flow<T> {
    /// With the time of arrival.
    messages: VecDeque<(u64, Result<T, Status>)>,
    last_arrival: u64,
    /// The sender has said all it had to say.
    is_over: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// What may happen to a message on its way.
trait Loss: Clone + Send + 'static {
    /// Whether it may be lost or come twice. Others do only with their connection.
    fn may_suffer(&self) -> bool {
        false
    }
}

impl Loss for LinkMessage {
    fn may_suffer(&self) -> bool {
        matches!(self.kind, Some(link_message::Kind::Numbered(_)))
    }
}

impl Loss for DataMessage {
    fn may_suffer(&self) -> bool {
        matches!(self.kind, Some(data_message::Kind::Frames(_)))
    }
}

impl Loss for LinkReply {}
impl Loss for DataReply {}

impl<T: Loss> Pipe<T> {
    fn new(network: &Network, from: u32, to: u32, side: usize, ends: &Arc<Ends>) -> Arc<Self> {
        Arc::new(Self {
            network: network.clone(),
            from,
            to,
            side,
            ends: Arc::clone(ends),
            flow: Mutex::new(Flow {
                messages: VecDeque::new(),
                last_arrival: 0,
                is_over: false,
                reader: None,
                writer: None,
            }),
        })
    }

    fn flow(&self) -> MutexGuard<'_, Flow<T>> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, message: Result<T, Status>) {
        let mut flow = self.flow();
        let arrival = self
            .network
            .arrival(self.from, self.to)
            .max(flow.last_arrival + 1);
        flow.last_arrival = arrival;
        flow.messages.push_back((arrival, message));
        let reader = flow.reader.take();
        drop(flow);
        reader.into_iter().for_each(Waker::wake);
    }

    /// Sends a message, with what the network does to it.
    fn send(&self, message: Result<T, Status>) {
        let (now, way) = (rim::now(), self.network.way(self.from, self.to));
        if message.as_ref().is_ok_and(Loss::may_suffer) {
            if now < way.lossy_until && rim::below(way.one_lost_of) == 0 {
                self.network.state().mishaps.lost += 1;
                let ends = Arc::clone(&self.ends);
                // tidy: allow(sleep) time is virtual here
                let after = rim::sleep(Duration::from_micros(rim::below(200_000)));
                rim::spawn_in(0, async move {
                    after.await;
                    ends.break_off();
                });
                return;
            }
            if now < way.doubling_until && rim::below(way.one_doubled_of) == 0 {
                self.network.state().mishaps.doubled += 1;
                self.push(message.clone());
            }
        }
        self.push(message);
    }

    /// Waits until there is room for another message. False if nobody reads any more.
    async fn has_room(&self) -> bool {
        std::future::poll_fn(|context| {
            let mut ended = self.ends.state();
            if ended.is_broken || ended.is_hung_up {
                return Poll::Ready(false);
            }
            ended.waiting[self.side] = Some(context.waker().clone());
            drop(ended);
            let mut flow = self.flow();
            if flow.messages.len() < WINDOW {
                return Poll::Ready(true);
            }
            flow.writer = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    fn finish(&self) {
        let mut flow = self.flow();
        flow.is_over = true;
        let reader = flow.reader.take();
        drop(flow);
        reader.into_iter().for_each(Waker::wake);
    }
}

/// Sends all of a stream, in the process that runs it.
async fn pump<T: Loss>(mut messages: impl Stream<Item = Result<T, Status>> + Unpin, pipe: Arc<Pipe<T>>) {
    let sending = async {
        while pipe.has_room().await {
            match messages.next().await {
                Some(message) => pipe.send(message),
                None => break,
            }
        }
    };
    // Once the other end is gone, nobody waits for what is still to be said.
    let gone = std::future::poll_fn(|context| {
        let mut ended = pipe.ends.state();
        if ended.is_broken || ended.is_hung_up {
            return Poll::Ready(());
        }
        ended.waiting[pipe.side] = Some(context.waker().clone());
        Poll::Pending
    });
    tokio::select! {
        biased;
        () = gone => {}
        () = sending => {}
    }
    pipe.finish();
}

/// The reading end of a pipe. When the caller's goes, so does the connection.
struct Reader<T> {
    pipe: Arc<Pipe<T>>,
    sleep: Option<Sleep>,
    connection: u64,
    is_over: bool,
}

impl<T: Loss> Stream for Reader<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if self.is_over {
                return Poll::Ready(None);
            }
            let gone = {
                let mut ended = self.pipe.ends.state();
                if !ended.is_broken {
                    ended.waiting[self.pipe.side + 1] = Some(context.waker().clone());
                }
                (ended.is_broken, ended.is_hung_up)
            };
            if gone.0 {
                self.is_over = true;
                return Poll::Ready(Some(Err(Status::unavailable("the connection broke"))));
            }
            let now = rim::now();
            let held = self.pipe.network.way(self.pipe.from, self.pipe.to).cut_until;
            let pipe = Arc::clone(&self.pipe);
            let mut flow = pipe.flow();
            let at = match flow.messages.front() {
                Some((arrival, _)) => (*arrival).max(held),
                None if flow.is_over && !gone.1 => {
                    self.is_over = true;
                    return Poll::Ready(None);
                }
                // That the other end is gone is heard by what comes over the wire, too.
                None if gone.1 && now >= held => {
                    self.is_over = true;
                    return Poll::Ready(Some(Err(Status::unavailable("the other end is gone"))));
                }
                None if gone.1 => held,
                None => {
                    flow.reader = Some(context.waker().clone());
                    return Poll::Pending;
                }
            };
            if at <= now && !flow.messages.is_empty() {
                let message = flow.messages.pop_front();
                let writer = flow.writer.take();
                drop(flow);
                writer.into_iter().for_each(Waker::wake);
                return Poll::Ready(message.map(|(_, message)| message));
            }
            drop(flow);
            let mut sleep = rim::until(at);
            if Pin::new(&mut sleep).poll(context).is_pending() {
                self.sleep = Some(sleep);
                return Poll::Pending;
            }
        }
    }
}

impl<T> Drop for Reader<T> {
    fn drop(&mut self) {
        if self.pipe.side == 2 {
            self.pipe.ends.hang_up();
            self.pipe.network.close(self.connection);
        }
    }
}

/// The network as one process sees it.
pub(crate) struct Port {
    pub(crate) network: Network,
    pub(crate) process: ProcessId,
    pub(crate) worker: u32,
}

/// What the called end does with a stream.
type Serve<M, R> = fn(Arc<Incoming>, Reader<M>) -> Serving<R>;
type Serving<R> = Pin<Box<dyn Future<Output = Result<Replies<R>, Status>> + Send>>;

impl Port {
    fn open<M: Loss, R: Loss>(
        &self,
        to: SocketAddr,
        messages: mpsc::Receiver<M>,
        serve: Serve<M, R>,
    ) -> Opening<R> {
        let (network, me, worker) = (self.network.clone(), self.process, self.worker);
        Box::pin(async move {
            let there = |network: &Network| {
                let state = network.state();
                let endpoint = state.endpoints.get(&to)?;
                Some((endpoint.process, endpoint.worker, Arc::clone(&endpoint.incoming)))
            };
            rim::until(network.arrival(worker, worker)).await;
            let refused = || "connection refused".to_owned();
            let (_, peer, _) = there(&network).ok_or_else(refused)?;
            // The hand shake is lost as all else is, and tried again.
            loop {
                let held = network
                    .way(worker, peer)
                    .cut_until
                    .max(network.way(peer, worker).cut_until);
                if held <= rim::now() {
                    break;
                }
                rim::until(held).await;
            }
            let (process, peer, incoming) = there(&network).ok_or_else(refused)?;
            let ends = Arc::<Ends>::default();
            let connection = {
                let mut state = network.state();
                state.next += 1;
                let connection = state.next;
                state.connections.insert(
                    connection,
                    Connection {
                        processes: [me, process],
                        workers: [worker, peer],
                        ends: Arc::clone(&ends),
                    },
                );
                connection
            };
            let there = Pipe::<M>::new(&network, worker, peer, 0, &ends);
            let back = Pipe::<R>::new(&network, peer, worker, 2, &ends);
            let called = Reader {
                pipe: Arc::clone(&there),
                sleep: None,
                connection,
                is_over: false,
            };
            let replying = Arc::clone(&back);
            rim::spawn_in(process, async move {
                match serve(incoming, called).await {
                    Ok(replies) => pump(replies, replying).await,
                    Err(status) => {
                        replying.send(Err(status));
                        replying.finish();
                    }
                }
            });
            let messages = tokio_stream::wrappers::ReceiverStream::new(messages).map(Ok);
            rim::spawn_in(me, pump(messages, there));
            let replies = Reader {
                pipe: back,
                sleep: None,
                connection,
                is_over: false,
            };
            Ok(Box::pin(replies) as _)
        })
    }
}

impl Dial for Port {
    fn link(&self, to: SocketAddr, messages: mpsc::Receiver<LinkMessage>) -> Opening<LinkReply> {
        self.open(to, messages, |incoming, messages| {
            Box::pin(incoming.link(messages))
        })
    }

    fn data(&self, to: SocketAddr, messages: mpsc::Receiver<DataMessage>) -> Opening<DataReply> {
        self.open(to, messages, |incoming, messages| {
            Box::pin(incoming.data(messages))
        })
    }

    fn state(&self, to: SocketAddr, _is_plain: bool, _request: StateRequest) -> Opening<StatePart> {
        Box::pin(async move { Err(format!("no other revision is simulated at {to}")) })
    }
}

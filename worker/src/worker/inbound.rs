//! Takes what the transport brings to where it belongs.
//!
//! Invariant: what waits to be read by the worker's life is bounded; a peer that sends more control messages than are read
//! loses its connection, and nobody waits for it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError};

use tokio::sync::mpsc;
use waterspout_core::epoch::{Epoch, Machine, Refusal};
use waterspout_core::frame::Frame;
use waterspout_core::graph::StreamId;
use waterspout_core::ledger::LedgerEntry;
use waterspout_core::plan::ParsedPlan;

use super::control::Control;
use super::epochs::SharedMachine;
use crate::mutation::{Mutation, lacks};
use crate::runtime::{Delivery, Node};
use crate::transport::{Admission, ControlFault, Inbound, Origin, PeerId, Refused};

/// Control messages that may wait to be read. Peers send a few a tick.
const MAX_WAITING: usize = 1_024;
/// Their bytes; each connection may be one message beyond.
const MAX_WAITING_BYTES: usize = 64 << 20;

/// What a worker's life hears from its peers.
#[derive(Debug)]
pub(super) enum News {
    Up(PeerId),
    Down(PeerId, String),
    Control(PeerId, Box<Control>),
}

/// Control messages that wait.
#[derive(Debug, Default)]
struct Waiting {
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

impl Waiting {
    /// Takes a message in.
    ///
    /// # Errors
    /// If too many wait already.
    fn take_in(&self, bytes: usize) -> Result<(), ControlFault> {
        let messages = self.messages.load(Ordering::Relaxed);
        if messages >= MAX_WAITING || self.bytes.load(Ordering::Relaxed) >= MAX_WAITING_BYTES {
            return Err(ControlFault::TooMany { messages });
        }
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn was_read(&self, bytes: usize) {
        self.messages.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// News as they come.
pub(super) struct NewsQueue {
    news: mpsc::UnboundedReceiver<(News, usize)>,
    waiting: Arc<Waiting>,
}

impl NewsQueue {
    /// The next news.
    pub(super) async fn next(&mut self) -> Option<News> {
        let (news, bytes) = self.news.recv().await?;
        if let News::Control(..) = news {
            self.waiting.was_read(bytes);
        }
        Some(news)
    }
}

/// Whether a worker has a part in the epoch that runs here. Nothing can be in flight at one that has none, such as one
/// that has left.
pub(super) fn runs(machine: &Machine, worker: PeerId) -> bool {
    machine
        .running()
        .and_then(|plan| plan.member(worker.index))
        .is_some_and(|member| member.uid == worker.incarnation.uid)
}

/// Whether the newest plan that is known names a worker. Nothing that moves comes from another one.
pub(super) fn is_named(machine: &Machine, worker: PeerId) -> bool {
    machine.newest_plan().is_some_and(|plan| {
        let mut named = plan.members.iter().chain(&plan.ask);
        named.any(|member| member.index == worker.index && member.uid == worker.incarnation.uid)
    })
}

/// The receiving end of the transport.
pub(super) struct Receiver {
    plan: Arc<ParsedPlan>,
    node: OnceLock<Arc<Node>>,
    machine: SharedMachine,
    /// Control messages are bounded by what waits; each connection that comes or goes is one more.
    news: mpsc::UnboundedSender<(News, usize)>,
    waiting: Arc<Waiting>,
}

impl Receiver {
    pub(super) fn new(plan: Arc<ParsedPlan>, machine: SharedMachine) -> (Arc<Self>, NewsQueue) {
        let (news, receiver) = mpsc::unbounded_channel();
        let waiting = Arc::<Waiting>::default();
        let queue = NewsQueue {
            news: receiver,
            waiting: Arc::clone(&waiting),
        };
        (
            Arc::new(Self {
                plan,
                node: OnceLock::new(),
                machine,
                news,
                waiting,
            }),
            queue,
        )
    }

    /// From now on tuples go to the tasks of `node`.
    pub(super) fn attach(&self, node: &Arc<Node>) {
        // A worker has one node in its life.
        let _ = self.node.set(Arc::clone(node));
    }

    fn tell(&self, news: News, bytes: usize) {
        // Nobody listens any more once the worker is at its end.
        let _ = self.news.send((news, bytes));
    }
}

impl Inbound for Receiver {
    fn frame(&self, origin: Origin, epoch: u64, target: u32, frame: Frame) {
        if let Some(node) = self.node.get() {
            node.receive(
                target,
                Delivery {
                    frame,
                    epoch,
                    from: Some(origin),
                },
            );
        }
    }

    fn entries(&self, entries: Vec<LedgerEntry>) {
        if let Some(node) = self.node.get() {
            node.settle(&entries);
        }
    }

    fn lost(&self, about: PeerId) {
        tracing::debug!(%about, "a peer lost a worker");
        let machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        let matters = runs(&machine, about);
        drop(machine);
        if let Some(node) = self.node.get().filter(|_| matters) {
            node.lose();
        }
    }

    fn control(&self, from: PeerId, message: Vec<u8>) -> Result<(), ControlFault> {
        let bytes = message.len();
        let message = Control::decode(&message)?;
        self.waiting.take_in(bytes)?;
        self.tell(News::Control(from, Box::new(message)), bytes);
        Ok(())
    }

    fn peer_up(&self, peer: PeerId) {
        self.tell(News::Up(peer), 0);
    }

    fn peer_down(&self, peer: PeerId, reason: &str) {
        self.tell(News::Down(peer, reason.to_owned()), 0);
    }

    fn admits(&self, peer: PeerId, epoch: u64) -> Result<Admission, Refused> {
        let machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        if lacks(Mutation::NoFence) {
            return Ok(Admission::Take);
        }
        match machine.accepts(peer.index, peer.incarnation, Epoch(epoch)) {
            // The machine is a little ahead of the tasks.
            Ok(()) if self.node.get().is_some_and(|node| node.epoch() == epoch) => Ok(Admission::Take),
            Ok(()) => Err(Refused::Now("the epoch is about to begin here".to_owned())),
            Err(Refusal::OtherEpoch) if epoch < machine.epoch().0 => Ok(Admission::Drop),
            Err(refusal @ (Refusal::OtherEpoch | Refusal::NotJoined | Refusal::NoLink)) => {
                Err(Refused::Now(refusal.to_string()))
            }
            Err(refusal) => Err(Refused::Ever(refusal.to_string())),
        }
    }

    fn has_part(&self, peer: PeerId) -> bool {
        let machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        runs(&machine, peer) || lacks(Mutation::NoFence)
    }

    fn fields(&self, stream: u16) -> Option<usize> {
        let known = usize::from(stream) < self.plan.graph().streams().len();
        known.then(|| self.plan.graph().stream(StreamId(stream)).fields.len())
    }

    fn is_here(&self, task: u32) -> bool {
        self.node.get().is_some_and(|node| node.slot(task).is_some())
    }

    fn state(&self, revision: &str, epoch: u64, task: u32) -> Result<Arc<[u8]>, Refused> {
        let mine = &self.plan.plan().revision;
        if mine != revision {
            return Err(Refused::Ever(format!("this worker is of revision '{mine}'")));
        }
        let machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        let rests = machine
            .running()
            .is_some_and(|plan| plan.rests && plan.epoch.0 == epoch);
        drop(machine);
        if !rests {
            return Err(Refused::Now(format!(
                "this worker does not rest in epoch {epoch}"
            )));
        }
        let node = self.node.get();
        let frozen = node.and_then(|node| node.frozen(&[task]));
        match frozen.as_deref() {
            Some([(_, state)]) => Ok(Arc::clone(state)),
            Some(_) => Err(Refused::Ever(format!("task {task} is not on this worker"))),
            None => Err(Refused::Now("the task is about to rest".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_messages_are_refused_while_too_many_or_too_large_ones_wait() {
        let waiting = Waiting::default();
        (0..MAX_WAITING).for_each(|_| waiting.take_in(10).expect("there is room"));
        assert!(matches!(
            waiting.take_in(10),
            Err(ControlFault::TooMany {
                messages: MAX_WAITING
            })
        ));
        waiting.was_read(10);
        waiting.take_in(MAX_WAITING_BYTES).expect("there is room");
        waiting.was_read(10);
        assert!(waiting.take_in(1).is_err());
        waiting.was_read(MAX_WAITING_BYTES);
        waiting.take_in(1).expect("there is room again");
    }
}

//! The spout of a test: it emits what it is handed and writes down what it hears.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::component::{ComponentError, EmitRoot, Polled, Spout};

/// What a spout shares with the test.
#[derive(Debug, Default)]
pub(super) struct Feed {
    waiting: VecDeque<u64>,
    /// Stream, row and its number of fields of each message that is not acked.
    messages: BTreeMap<u64, (usize, Vec<u8>, u32)>,
    next: u64,
    pub(super) acked: Vec<u64>,
    pub(super) failed: Vec<u64>,
    pub(super) replays: bool,
    pub(super) ended: bool,
}

impl Feed {
    pub(super) fn push(&mut self, stream: usize, row: Vec<u8>, fields: u32) -> u64 {
        self.next += 1;
        self.messages.insert(self.next, (stream, row, fields));
        self.waiting.push_back(self.next);
        self.next
    }
}

/// A spout that is fed.
pub(super) struct FeedSpout(Arc<Mutex<Feed>>);

impl FeedSpout {
    pub(super) fn new(feed: Arc<Mutex<Feed>>) -> Self {
        Self(feed)
    }

    fn feed(&self) -> MutexGuard<'_, Feed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spout for FeedSpout {
    fn poll(&mut self, out: &mut impl EmitRoot) -> Result<Polled, ComponentError> {
        let mut feed = self.feed();
        let mut room = out.room();
        while room > 0
            && let Some(message) = feed.waiting.pop_front()
        {
            room -= 1;
            if let Some((stream, row, fields)) = feed.messages.get(&message) {
                out.emit_root(*stream, message, |writer| {
                    writer.encoded(row, *fields);
                })?;
            }
        }
        Ok(if feed.ended && feed.waiting.is_empty() {
            Polled::Done
        } else {
            Polled::Idle(Duration::from_secs(3600))
        })
    }

    fn ack(&mut self, message: u64) {
        let mut feed = self.feed();
        feed.messages.remove(&message);
        feed.acked.push(message);
    }

    fn fail(&mut self, message: u64) {
        let mut feed = self.feed();
        feed.failed.push(message);
        if feed.replays {
            feed.waiting.push_back(message);
        }
    }
}

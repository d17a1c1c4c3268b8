//! Asynchronous bolts: several tuples of a task are in work at a time, each in a future of its own.
//!
//! Owns: the trait [`AsyncBolt`], what its futures are handed, and the [`Bolt`] that holds each tuple until its future
//! ends. Leaves to others: what holding means ([`crate::task`]), where futures run ([`super::futures`]).
//!
//! ```text
//! execute: hold the tuple, spawn ──> future ──> done, wake ──> woken: emit what it emitted, ack or fail the tuple
//! ```
//!
//! Invariants: at most [`AsyncBolt::concurrency`] tuples and [`MAX_BYTES`] of them are in work, and while they are, the
//! task takes no more; a future whose tuple was failed with an epoch is ended, and what it came to is forgotten.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use rustc_hash::FxHashMap;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tracing::Instrument;
use waterspout_core::value::{Row, RowWriter};

use super::{Bolt, ComponentError, Context, Emit, Finished, Held, Patience, Tuple, Waker};

/// Bytes of the tuples in work after which a task takes no more.
const MAX_BYTES: usize = 16 << 20;
/// Bytes that one future may emit.
const MAX_OUTBOX: usize = 32 << 20;
/// Bytes after which a call of [`Bolt::woken`] leaves the rest to the next one.
const ENOUGH: usize = 128 << 10;

/// A bolt that waits for something outside without a thread of its own: a web service, a database.
///
/// Each tuple is handed to a call of its own, and up to [`AsyncBolt::concurrency`] calls of a task run at a time. A
/// tuple is acked when its call ends with `Ok`, unless it was failed through the [`Outbox`]; until then its time-out
/// begins anew again and again. Results leave the task in the order in which calls end, not in that of the tuples.
///
/// Calls run on a tokio runtime that all asynchronous bolts of a worker share, apart from the worker's own. What
/// computes for long, or blocks, belongs into a [`Bolt`], or into `tokio::task::spawn_blocking`.
pub trait AsyncBolt: Send + Sync + 'static {
    /// Works on one tuple.
    ///
    /// When the topology pauses or the task moves, calls have until `spec.delivery.drainTimeout` to end. Then they are
    /// dropped where they wait, and their tuples come again.
    ///
    /// # Errors
    /// An error ends the worker's process. For a tuple that cannot be worked on now, or at all, call [`Outbox::fail`].
    fn execute(
        &self,
        tuple: OwnedTuple,
        out: &mut Outbox,
    ) -> impl Future<Output = Result<(), ComponentError>> + Send;

    /// How many calls of a task run at a time; 64 by default. At least 1.
    fn concurrency(&self) -> usize {
        64
    }

    /// How long a call may take; 60 s by default. One that takes longer is dropped, and its tuple fails. `None` lets it
    /// take for ever.
    fn limit(&self) -> Option<Duration> {
        Some(Duration::from_secs(60))
    }
}

/// A tuple that a call may keep.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnedTuple {
    /// The number of its stream.
    pub stream: u16,
    /// The task that emitted it.
    pub source: u32,
    row: Box<[u8]>,
}

impl OwnedTuple {
    /// Its fields.
    pub fn row(&self) -> Row<'_> {
        Row::new(&self.row)
    }

    /// The same, borrowed.
    pub fn as_tuple(&self) -> Tuple<'_> {
        Tuple {
            stream: self.stream,
            source: self.source,
            row: self.row(),
        }
    }
}

impl From<Tuple<'_>> for OwnedTuple {
    fn from(tuple: Tuple<'_>) -> Self {
        Self {
            stream: tuple.stream,
            source: tuple.source,
            row: tuple.row.as_bytes().into(),
        }
    }
}

/// What a call emits, and what it says of its tuple.
///
/// Nothing leaves it before the call has ended: a call that ends early, or fails its tuple, emits nothing.
#[derive(Debug, Default)]
pub struct Outbox {
    rows: Vec<u8>,
    emits: Vec<Emitted>,
    failed: bool,
}

#[derive(Debug)]
struct Emitted {
    stream: usize,
    anchored: bool,
    fields: u32,
    /// Where the row ends.
    end: usize,
}

impl Outbox {
    /// Emits to the `stream`-th output stream of the manifest, anchored to the call's tuple. Not for direct streams.
    ///
    /// # Errors
    /// If the call has emitted more than 32 MiB.
    pub fn emit(
        &mut self,
        stream: usize,
        row: impl FnOnce(&mut RowWriter<'_>),
    ) -> Result<(), ComponentError> {
        self.push(stream, true, row)
    }

    /// Emits a tuple that belongs to no root: if it is lost, nobody hears of it.
    ///
    /// # Errors
    /// As [`Outbox::emit`].
    pub fn emit_unanchored(
        &mut self,
        stream: usize,
        row: impl FnOnce(&mut RowWriter<'_>),
    ) -> Result<(), ComponentError> {
        self.push(stream, false, row)
    }

    /// Fails the tuple when the call ends: its root is emitted again, as often as `delivery.maxAttempts` says.
    pub fn fail(&mut self) {
        self.failed = true;
    }

    fn push(
        &mut self,
        stream: usize,
        anchored: bool,
        row: impl FnOnce(&mut RowWriter<'_>),
    ) -> Result<(), ComponentError> {
        let mut writer = RowWriter::new(&mut self.rows);
        row(&mut writer);
        let fields = writer.fields();
        if self.rows.len() > MAX_OUTBOX {
            return Err(ComponentError::Tuple(format!(
                "a call emitted more than {} MiB for one tuple; emit less, or from a bolt that is not asynchronous",
                MAX_OUTBOX >> 20
            )));
        }
        self.emits.push(Emitted {
            stream,
            anchored,
            fields,
            end: self.rows.len(),
        });
        Ok(())
    }

    /// Emits it all for a held tuple.
    fn send(&self, held: &Held, out: &mut impl Emit) -> Result<(), ComponentError> {
        let mut start = 0;
        for emitted in &self.emits {
            let row = &self.rows[start..emitted.end];
            start = emitted.end;
            let write = |writer: &mut RowWriter<'_>| {
                writer.encoded(row, emitted.fields);
            };
            if emitted.anchored {
                out.emit_anchored(&[held], emitted.stream, write)?;
            } else {
                out.emit_unanchored(emitted.stream, write)?;
            }
        }
        Ok(())
    }
}

/// How a call ended.
enum End {
    Done(Result<(), ComponentError>, Outbox),
    /// It took too long.
    Late,
    Panicked(Box<dyn std::any::Any + Send>),
}

/// Calls that have ended, in that order.
type Ended = Mutex<VecDeque<(u64, End)>>;

struct Call {
    held: Held,
    bytes: usize,
    future: AbortHandle,
}

/// The bolt around an asynchronous one.
pub(super) struct Concurrent<B> {
    bolt: Arc<B>,
    runtime: Handle,
    waker: Waker,
    component: String,
    most: usize,
    limit: Option<Duration>,
    next: u64,
    calls: FxHashMap<u64, Call>,
    /// Bytes of the tuples in work.
    bytes: usize,
    ended: Arc<Ended>,
}

impl<B: AsyncBolt> Concurrent<B> {
    pub(super) fn new(bolt: B, context: &Context) -> Result<Self, ComponentError> {
        Ok(Self {
            most: bolt.concurrency().max(1),
            limit: bolt.limit(),
            bolt: Arc::new(bolt),
            runtime: context.services.futures.handle()?,
            waker: context.waker(),
            component: context.component.clone(),
            next: 0,
            calls: FxHashMap::default(),
            bytes: 0,
            ended: Arc::default(),
        })
    }

    fn spawn(&self, number: u64, tuple: OwnedTuple) -> AbortHandle {
        let bolt = Arc::clone(&self.bolt);
        let limit = self.limit;
        let ended = Arc::clone(&self.ended);
        let waker = self.waker.clone();
        let future = async move {
            let mut out = Outbox::default();
            let call = AssertUnwindSafe(bolt.execute(tuple, &mut out)).catch_unwind();
            let end = match limit {
                Some(limit) => tokio::time::timeout(limit, call).await.ok(),
                None => Some(call.await),
            };
            let end = match end {
                Some(Ok(result)) => End::Done(result, out),
                Some(Err(panic)) => End::Panicked(panic),
                None => End::Late,
            };
            ended
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push_back((number, end));
            waker.wake();
        };
        // Its log lines say of which task they are, as those of other bolts do.
        self.runtime.spawn(future.in_current_span()).abort_handle()
    }

    /// Ends all calls.
    fn abort(&mut self) {
        for (_, call) in self.calls.drain() {
            call.future.abort();
            // Its tuple was failed already, or the task is gone.
            drop(call.held);
        }
        self.bytes = 0;
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl<B> Drop for Concurrent<B> {
    fn drop(&mut self) {
        for call in self.calls.values() {
            call.future.abort();
        }
    }
}

impl<B: AsyncBolt> Bolt for Concurrent<B> {
    fn execute(&mut self, tuple: Tuple<'_>, out: &mut impl Emit) -> Result<(), ComponentError> {
        let held = out.hold(Patience::Renewed);
        let tuple = OwnedTuple::from(tuple);
        let number = self.next;
        self.next += 1;
        let bytes = tuple.row.len();
        self.bytes += bytes;
        let future = self.spawn(number, tuple);
        self.calls.insert(number, Call { held, bytes, future });
        Ok(())
    }

    fn woken(&mut self, out: &mut impl Emit) -> Result<(), ComponentError> {
        let mut emitted = 0;
        while emitted < ENOUGH {
            let next = self
                .ended
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_front();
            let Some((number, end)) = next else {
                return Ok(());
            };
            // A call of an epoch that has ended.
            let Some(call) = self.calls.remove(&number) else {
                continue;
            };
            self.bytes -= call.bytes;
            match end {
                End::Done(Ok(()), outbox) if outbox.failed => out.fail_held(call.held),
                End::Done(Ok(()), outbox) => {
                    outbox.send(&call.held, out)?;
                    emitted += outbox.rows.len();
                    out.ack(call.held);
                }
                End::Done(Err(error), _) => return Err(error),
                End::Late => {
                    let seconds = self.limit.unwrap_or_default().as_secs_f64();
                    tracing::warn!(
                        component = self.component,
                        "a call took longer than its limit of {seconds} s and was dropped; its tuple fails"
                    );
                    out.fail_held(call.held);
                }
                End::Panicked(panic) => resume_unwind(panic),
            }
        }
        self.waker.wake();
        Ok(())
    }

    fn max_held(&self) -> usize {
        self.most
    }

    fn has_room(&self) -> bool {
        self.bytes < MAX_BYTES
    }

    fn forget(&mut self) {
        self.abort();
    }

    fn finish(&mut self, _out: &mut impl Emit) -> Result<Finished, ComponentError> {
        if self.calls.is_empty() {
            Ok(Finished::Done)
        } else {
            Ok(Finished::Later)
        }
    }
}

//! Traces of sampled tuple trees: what each task did for a root, from its emit to its ack, through all workers.
//!
//! Owns: which roots are sampled, the names of their traces and spans, what waits to be exported. Leaves to others: what a
//! task notes (`task`), the export (`export`). Invariants: nobody waits for a span, what does not fit is dropped and
//! counted; workers agree on samples and names without a word, as both follow from the root.
//!
//! ```text
//! trace of a root                        made by
//!   lines (the root: emit to ack)        the spout's worker
//!   └─ lines emits                       the spout's worker, for each frame that the root went into
//!      └─ split                          the bolt's worker, from when it took the frame until it was done with it
//!         └─ split emits                 the bolt's worker
//!            └─ count                    ...
//! ```

mod export;
mod task;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use waterspout_core::frame::{Frame, GroupId};
use waterspout_core::plan::ParsedPlan;
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

pub(crate) use task::TaskTraces;

/// Spans that wait to be exported.
const WAITING: usize = 8_192;
/// Roots of a group, as the ledger has them.
const GROUP: u64 = 256;

/// Where traces go and how many there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceSettings {
    /// Where a collector takes OTLP over gRPC: `http://HOST:PORT`.
    pub endpoint: String,
    /// One root in so many is traced.
    pub one_in: u64,
    /// Tells the traces of one run from those of another where plans do not.
    pub seed: u64,
}

/// A root: its group and its number there.
type Root = (GroupId, u8);

/// Something that took time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    trace: u128,
    id: u64,
    parent: Option<u64>,
    name: String,
    /// The task that it is of.
    task: u32,
    /// The task that it goes to, for what was emitted.
    to: Option<u32>,
    rows: Option<u64>,
    /// Since 1970.
    start: Duration,
    end: Duration,
    /// What went wrong, in a word.
    error: Option<&'static str>,
}

/// The traces of a worker.
pub(crate) struct Traces {
    one_in: u64,
    run: u64,
    /// What the names of all traces are made of; it follows from the plan.
    seed: AtomicU64,
    spans: mpsc::Sender<Span>,
    dropped: AtomicU64,
}

/// The export of a worker's traces.
pub(crate) struct Exporting {
    end: Arc<Notify>,
    running: JoinHandle<()>,
}

impl Traces {
    /// Starts the export. Called within a runtime.
    pub(crate) fn start(settings: &TraceSettings, topology: &str, worker: u32) -> (Arc<Self>, Exporting) {
        let (spans, waiting) = mpsc::channel(WAITING);
        let end = Arc::new(Notify::new());
        let export = export::run(
            settings.endpoint.clone(),
            topology.to_owned(),
            worker,
            waiting,
            Arc::clone(&end),
        );
        let traces = Self {
            one_in: settings.one_in.max(1),
            run: settings.seed,
            seed: AtomicU64::new(0),
            spans,
            dropped: AtomicU64::new(0),
        };
        let running = tokio::spawn(export);
        (Arc::new(traces), Exporting { end, running })
    }

    /// Names traces as all workers of this plan do.
    pub(crate) fn follow(&self, plan: &ParsedPlan) {
        let members = &plan.plan().members;
        let uids: Vec<u8> = members
            .iter()
            .flat_map(|member| member.uid.to_le_bytes())
            .collect();
        let seed = xxh3_64_with_seed(plan.topology().as_bytes(), self.run);
        self.seed.store(xxh3_64_with_seed(&uids, seed), Ordering::Relaxed);
    }

    /// How many spans were dropped, since nothing took them in time.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn export(&self, span: Span) {
        if self.spans.try_send(span).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn trace(&self, (group, root): Root) -> u128 {
        let mut bytes = [0; 17];
        bytes[..4].copy_from_slice(&group.spout.to_le_bytes());
        bytes[4..8].copy_from_slice(&group.life.to_le_bytes());
        bytes[8..16].copy_from_slice(&group.sequence.to_le_bytes());
        bytes[16] = root;
        xxh3_128_with_seed(&bytes, self.seed.load(Ordering::Relaxed)) | 1
    }
}

impl Exporting {
    /// Exports what waits, and ends, within `within`.
    pub(crate) async fn end(self, within: Duration) {
        self.end.notify_one();
        // A collector that does not answer is not waited for.
        let _ = tokio::time::timeout(within, self.running).await;
    }
}

/// The id of a span of a trace: 0 is the root's, a frame's id what is emitted with it, and its complement what is made of it.
fn span_id(trace: u128, of: u64) -> u64 {
    xxh3_64_with_seed(&trace.to_le_bytes(), of) | 1
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The roots in a frame that are sampled.
fn sampled(frame: &Frame, one_in: u64) -> impl Iterator<Item = Root> + '_ {
    frame.groups.iter().flat_map(move |held| {
        let first = held.group.sequence.wrapping_mul(GROUP);
        let skipped = first.next_multiple_of(one_in) - first;
        (skipped..GROUP)
            .step_by(usize::try_from(one_in).unwrap_or(usize::MAX))
            .map(|root| root as u8)
            .filter(|&root| held.roots[usize::from(root >> 6)] & 1 << (root & 63) != 0)
            .map(|root| (held.group, root))
    })
}

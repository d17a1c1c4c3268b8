//! What a task emits: rows routed into open frames, and what the ledgers have to hear of it.
//!
//! Owns: one open frame per (stream, consumer, task of it), their shipping, registrations. Leaves to others: who
//! delivers shipped frames and entries ([`crate::runtime`]). Invariant: emitting never blocks and never fails for lack
//! of room; entries are in the order in which they must travel.

use waterspout_core::frame::{Frame, FrameBuilder, GroupId, RootBits};
use waterspout_core::ledger::{Change, LedgerEntry};
use waterspout_core::routing::{Router, Target};
use waterspout_core::value::{Row, RowWriter};

use crate::component::ComponentError;

/// How far back an entry looks for one with the same roots to merge with.
const MERGE_REACH: usize = 12;

/// A frame that is on its way to a task.
#[derive(Debug)]
pub struct Shipped {
    /// The task it goes to.
    pub target: u32,
    /// The frame.
    pub frame: Frame,
}

/// One output stream of a task.
#[derive(Debug)]
pub struct OutputStream {
    /// The stream's number in the graph.
    pub id: u16,
    /// Its number of fields.
    pub fields: u32,
    /// Who reads it.
    pub edges: Vec<OutputEdge>,
}

/// One consumer of an output stream.
#[derive(Debug)]
pub struct OutputEdge {
    /// Chooses among the consumer's tasks.
    pub router: Router,
    /// The number of the consumer's first task.
    pub first_task: u32,
}

/// Random ids of frames.
#[derive(Debug)]
struct Ids(u64);

impl Ids {
    /// Source: SplitMix64, Steele, Lea and Flood 2014.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[derive(Debug)]
struct OpenFrame {
    builder: FrameBuilder,
    target: u32,
    /// Has rows since the last [`Output::end_frame`].
    touched: bool,
}

#[derive(Debug)]
struct Edge {
    router: Router,
    /// Position in `open` of the frame to the consumer's first task.
    first: usize,
}

#[derive(Debug)]
struct Stream {
    fields: u32,
    edges: Vec<Edge>,
}

/// Everything that one task emits.
#[derive(Debug)]
pub struct Output {
    component: String,
    streams: Vec<Stream>,
    open: Vec<OpenFrame>,
    touched: Vec<usize>,
    row: Vec<u8>,
    ids: Ids,
    /// Frames to deliver, in order.
    pub shipped: Vec<Shipped>,
    /// Entries to deliver, in order.
    pub entries: Vec<LedgerEntry>,
    /// Rows emitted in all.
    pub emitted: u64,
    /// Bytes emitted in all.
    pub bytes: u64,
    /// When the oldest open frame got its first row, in microseconds; `u64::MAX` if all are empty.
    opened_at: u64,
    now: u64,
    /// Whether this task tells the ledgers of its frames through `entries`. A task that emits roots tells its own
    /// ledger at once instead.
    registers: bool,
}

impl Output {
    /// The output of task `source` of `component`. `seed` must be random: frames of all tasks share one space of ids.
    pub fn new(component: &str, source: u32, streams: Vec<OutputStream>, seed: u64) -> Self {
        let mut ids = Ids(seed);
        let mut open = Vec::new();
        let streams = streams
            .into_iter()
            .map(|stream| Stream {
                fields: stream.fields,
                edges: stream
                    .edges
                    .into_iter()
                    .map(|edge| {
                        let first = open.len();
                        for task in 0..edge.router.tasks() {
                            open.push(OpenFrame {
                                builder: FrameBuilder::new(ids.next(), stream.id, source),
                                target: edge.first_task + task,
                                touched: false,
                            });
                        }
                        Edge {
                            router: edge.router,
                            first,
                        }
                    })
                    .collect(),
            })
            .collect();
        Self {
            component: component.to_owned(),
            streams,
            open,
            touched: Vec::new(),
            row: Vec::new(),
            ids,
            shipped: Vec::new(),
            entries: Vec::new(),
            emitted: 0,
            bytes: 0,
            opened_at: u64::MAX,
            now: 0,
            registers: true,
        }
    }

    /// From now on all that is emitted are roots of this task's own ledger, which is told by the callback of
    /// [`Output::send`].
    pub fn emit_roots(&mut self) {
        self.flush();
        self.registers = false;
    }

    /// Sets the time of what is emitted from now on, in microseconds.
    #[inline]
    pub fn set_time(&mut self, now: u64) {
        self.now = now;
    }

    /// Lets shuffle go round tasks that are away.
    pub fn avoid(&mut self, is_away: impl Fn(u32) -> bool) {
        for edge in self.streams.iter_mut().flat_map(|stream| &mut stream.edges) {
            let first = self.open.get(edge.first).map_or(0, |open| open.target);
            edge.router.avoid(|task| is_away(first + task));
        }
    }

    /// Writes a row into the scratch buffer and checks that it has as many fields as stream `stream` declares.
    #[inline]
    pub fn write_row(
        &mut self,
        stream: usize,
        write: impl FnOnce(&mut RowWriter<'_>),
    ) -> Result<usize, ComponentError> {
        self.row.clear();
        let mut writer = RowWriter::new(&mut self.row);
        write(&mut writer);
        let found = writer.fields();
        match self.streams.get(stream) {
            Some(declared) if declared.fields == found => Ok(self.row.len()),
            declared => Err(self.wrong_row(stream, declared.map(|stream| stream.fields), found)),
        }
    }

    #[cold]
    fn wrong_row(&self, stream: usize, declared: Option<u32>, found: u32) -> ComponentError {
        let component = &self.component;
        ComponentError::Tuple(match declared {
            Some(declared) => format!(
                "component '{component}' emitted {found} fields to its output stream {stream}, which declares {declared}"
            ),
            None => format!(
                "component '{component}' emitted to output stream {stream}, which it does not declare"
            ),
        })
    }

    /// The row that was written last.
    pub fn last_row(&self) -> &[u8] {
        &self.row
    }

    /// Puts an encoded row in place of the one that was written last.
    pub fn load_row(&mut self, row: &[u8]) {
        self.row.clear();
        self.row.extend_from_slice(row);
    }

    /// Sends the row that was written last to all who read `stream`, for root `root` of `group`.
    ///
    /// `registered` is called with the id of each frame that had no row of this root before.
    #[inline]
    pub fn send(&mut self, stream: usize, anchor: Option<(GroupId, u8)>, mut registered: impl FnMut(u64)) {
        let Self {
            streams,
            open,
            touched,
            row,
            ids,
            shipped,
            entries,
            emitted,
            bytes,
            opened_at,
            now,
            registers,
            ..
        } = self;
        *emitted += 1;
        for edge in &mut streams[stream].edges {
            let (from, to) = match edge.router.route(Row::new(row)) {
                Target::One(task) => (edge.first + task as usize, edge.first + task as usize + 1),
                Target::All => (edge.first, edge.first + edge.router.tasks() as usize),
            };
            for (index, slot) in (from..).zip(&mut open[from..to]) {
                *bytes += row.len() as u64;
                if slot.builder.is_empty() {
                    *opened_at = (*opened_at).min(*now);
                }
                match anchor {
                    Some((group, root)) => {
                        if slot.builder.push(row, group, root) {
                            registered(slot.builder.id());
                        }
                    }
                    None => slot.builder.push_untracked(row),
                }
                if slot.builder.is_full() {
                    if *registers {
                        register(slot, entries);
                    }
                    shipped.push(Shipped {
                        target: slot.target,
                        frame: slot.builder.ship(ids.next()),
                    });
                } else if *registers && !slot.touched {
                    slot.touched = true;
                    touched.push(index);
                }
            }
        }
    }

    /// Ends an input frame: registers what was emitted for it, then acks it.
    ///
    /// `first_entry` is the length of `entries` when the frame began.
    pub fn end_frame(&mut self, input: &Frame, first_entry: usize) {
        for index in self.touched.drain(..) {
            let slot = &mut self.open[index];
            slot.touched = false;
            register(slot, &mut self.entries);
        }
        for held in &input.groups {
            ack(&mut self.entries, first_entry, held.group, held.roots, input.id);
        }
    }

    /// Drops all that was emitted and not delivered: it is of an epoch that has ended.
    pub fn reset(&mut self) {
        self.flush();
        self.shipped.clear();
        self.entries.clear();
        for index in self.touched.drain(..) {
            self.open[index].touched = false;
        }
    }

    /// Whether a frame is open since before `since` (microseconds).
    #[inline]
    pub fn is_older_than(&self, since: u64) -> bool {
        self.opened_at < since
    }

    /// Ships every open frame.
    pub fn flush(&mut self) {
        if self.opened_at == u64::MAX {
            return;
        }
        self.opened_at = u64::MAX;
        for slot in &mut self.open {
            if !slot.builder.is_empty() {
                if self.registers {
                    register(slot, &mut self.entries);
                }
                self.shipped.push(Shipped {
                    target: slot.target,
                    frame: slot.builder.ship(self.ids.next()),
                });
            }
        }
    }
}

/// Tells the ledgers of the roots that came into an open frame since they were told last.
fn register(slot: &mut OpenFrame, entries: &mut Vec<LedgerEntry>) {
    let id = slot.builder.id();
    slot.builder.take_unregistered(|group, roots| {
        entries.push(LedgerEntry {
            group,
            roots,
            change: Change::Xor(id),
        });
    });
}

/// Adds an ack behind the registrations of the same input frame.
///
/// It may merge into the *last* registration of the group only. Were another one behind it, a root of that one could
/// come to zero in between: the frame registered first may have been acked already.
fn ack(entries: &mut Vec<LedgerEntry>, first_entry: usize, group: GroupId, roots: RootBits, id: u64) {
    let behind = entries.len() - first_entry;
    let last = entries
        .iter_mut()
        .rev()
        .take(behind.min(MERGE_REACH))
        .find(|entry| entry.group == group);
    match last {
        Some(LedgerEntry {
            roots: known,
            change: Change::Xor(sum),
            ..
        }) if *known == roots => *sum ^= id,
        _ => entries.push(LedgerEntry {
            group,
            roots,
            change: Change::Xor(id),
        }),
    }
}

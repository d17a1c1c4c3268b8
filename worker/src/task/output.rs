//! What a task emits: rows routed into open frames, and what the ledgers have to hear of it.
//!
//! Owns: the form of each output stream, the choice of a frame for each row. Leaves to others: the frames
//! ([`super::open`]), who delivers shipped frames and entries ([`crate::runtime`]). Invariant: emitting never blocks and
//! never fails for lack of room.

mod several;

use waterspout_core::frame::{Frame, FrameBuilder, GroupId, RootBits};
use waterspout_core::ledger::{Change, LedgerEntry};
use waterspout_core::routing::{Router, Target};
use waterspout_core::value::{Row, RowWriter};

use super::open::{OpenFrames, Shipped};
use crate::component::ComponentError;
use crate::mutation::{Mutation, lacks};

/// Where a row is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowPlace {
    /// Into this open frame, where it stays.
    Frame(usize),
    /// Into the scratch buffer, from where it is copied.
    Scratch,
}

/// One output stream of a task.
#[derive(Debug)]
pub struct OutputStream {
    /// The stream's number in the graph.
    pub id: u16,
    /// Its name.
    pub name: String,
    /// Its number of fields.
    pub fields: u32,
    /// Whether each row names its task.
    pub direct: bool,
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

#[derive(Debug)]
struct Edge {
    router: Router,
    /// Position among the open frames of the frame to the consumer's first task.
    first: usize,
}

#[derive(Debug)]
struct Stream {
    name: String,
    fields: u32,
    direct: bool,
    edges: Vec<Edge>,
}

/// Everything that one task emits.
#[derive(Debug)]
pub struct Output {
    component: String,
    streams: Vec<Stream>,
    open: OpenFrames,
    row: Vec<u8>,
    /// Rows emitted in all.
    pub emitted: u64,
}

impl Output {
    /// The output of task `source` of `component`. `seed` must be random: frames of all tasks share one space of ids.
    pub fn new(component: &str, source: u32, streams: Vec<OutputStream>, seed: u64) -> Self {
        let mut open = OpenFrames::new(seed);
        let streams = streams
            .into_iter()
            .map(|stream| Stream {
                name: stream.name,
                fields: stream.fields,
                direct: stream.direct,
                edges: stream
                    .edges
                    .into_iter()
                    .map(|edge| {
                        let first = open.len();
                        for task in 0..edge.router.tasks() {
                            open.add(stream.id, source, edge.first_task + task);
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
            row: Vec::new(),
            emitted: 0,
        }
    }

    /// From now on all that is emitted are roots of this task's own ledger, which is told by the callback of
    /// [`Output::send`].
    pub fn emit_roots(&mut self) {
        self.flush();
        self.open.registers = false;
    }

    /// Ends what [`Output::emit_roots`] began: what is emitted from now on belongs to the roots of the input again.
    pub fn end_roots(&mut self) {
        self.flush();
        self.open.registers = true;
    }

    /// Sets the time of what is emitted from now on, in microseconds.
    #[inline]
    pub fn set_time(&mut self, now: u64) {
        self.open.now = now;
    }

    /// Bytes emitted in all.
    #[inline]
    pub fn bytes(&self) -> u64 {
        self.open.bytes
    }

    /// Lets groupings that have a choice go round tasks that are away.
    pub fn avoid(&mut self, is_away: impl Fn(u32) -> bool) {
        self.each_router(|router, first| router.avoid(|task| is_away(first + task)));
    }

    /// Says which tasks are on this worker.
    pub fn place(&mut self, is_here: impl Fn(u32) -> bool) {
        self.each_router(|router, first| router.place(|task| is_here(first + task)));
    }

    fn each_router(&mut self, visit: impl Fn(&mut Router, u32)) {
        for edge in self.streams.iter_mut().flat_map(|stream| &mut stream.edges) {
            visit(&mut edge.router, self.open.target(edge.first));
        }
    }

    /// Where the next row of `stream` is to be written: into an open frame if that needs no look at the row and there is
    /// just one such frame, whose turn it is then; else into the scratch buffer.
    #[inline]
    pub fn next_place(&mut self, stream: usize) -> RowPlace {
        let edges = match self.streams.get_mut(stream) {
            Some(declared) if !declared.direct => declared.edges.as_mut_slice(),
            _ => return RowPlace::Scratch,
        };
        let [edge] = edges else { return RowPlace::Scratch };
        match edge.router.blind() {
            Some(task) => RowPlace::Frame(edge.first + task as usize),
            None => RowPlace::Scratch,
        }
    }

    /// Writes a row where [`Output::next_place`] says, and checks that it has as many fields as stream `stream` declares.
    /// Its length in bytes. [`Output::stay`] or [`Output::send`] is to follow.
    ///
    /// # Errors
    /// If it has not, or the stream needs the name of a task.
    #[inline(always)]
    pub fn write_at(
        &mut self,
        place: RowPlace,
        stream: usize,
        write: impl FnOnce(&mut RowWriter<'_>),
    ) -> Result<usize, ComponentError> {
        let data = match place {
            RowPlace::Frame(index) => self.open.data_mut(index),
            RowPlace::Scratch => {
                self.row.clear();
                &mut self.row
            }
        };
        let start = data.len();
        let mut writer = RowWriter::new(data);
        write(&mut writer);
        let found = writer.fields();
        let bytes = data.len() - start;
        match self.streams.get(stream) {
            Some(declared) if declared.fields == found && !declared.direct => Ok(bytes),
            _ => {
                data.truncate(start);
                Err(self.wrong_row(stream, found, false))
            }
        }
    }

    /// The row of `bytes` bytes that was written last into an open frame.
    #[inline]
    pub fn row_in(&self, frame: usize, bytes: usize) -> &[u8] {
        let data = self.open.data(frame);
        &data[data.len() - bytes..]
    }

    /// Lets a row of `bytes` bytes stay in the open frame that it was written into. `anchor` gets the frame's id, and
    /// gives the root that the row belongs to.
    #[inline(always)]
    pub fn stay(&mut self, frame: usize, bytes: usize, anchor: impl FnOnce(u64) -> Option<(GroupId, u8)>) {
        self.emitted += 1;
        self.open.end_row(frame, bytes, anchor);
    }

    /// Writes a row into the scratch buffer; see [`Output::write_at`].
    ///
    /// # Errors
    /// If the row does not fit the stream.
    #[inline]
    pub fn write_row(
        &mut self,
        stream: usize,
        write: impl FnOnce(&mut RowWriter<'_>),
    ) -> Result<usize, ComponentError> {
        self.write_at(RowPlace::Scratch, stream, write)
    }

    /// Writes a row for a direct stream; see [`Output::write_row`].
    ///
    /// # Errors
    /// If it does not fit the stream, or the stream takes no names of tasks.
    pub fn write_direct(
        &mut self,
        stream: usize,
        write: impl FnOnce(&mut RowWriter<'_>),
    ) -> Result<usize, ComponentError> {
        let found = self.write(write);
        match self.streams.get(stream) {
            Some(declared) if declared.fields == found && declared.direct => Ok(self.row.len()),
            _ => Err(self.wrong_row(stream, found, true)),
        }
    }

    #[inline]
    fn write(&mut self, write: impl FnOnce(&mut RowWriter<'_>)) -> u32 {
        self.row.clear();
        let mut writer = RowWriter::new(&mut self.row);
        write(&mut writer);
        writer.fields()
    }

    #[cold]
    fn wrong_row(&self, stream: usize, found: u32, is_direct: bool) -> ComponentError {
        let component = &self.component;
        ComponentError::Tuple(match self.streams.get(stream) {
            None => format!(
                "component '{component}' emitted to output stream {stream}, which it does not declare"
            ),
            Some(declared) if declared.direct && !is_direct => format!(
                "component '{component}' emitted to its stream '{}' without a task, and that stream is direct; name the task",
                declared.name
            ),
            Some(declared) if is_direct && !declared.direct => format!(
                "component '{component}' named a task for its stream '{}', which is not direct; declare it with `direct: true`",
                declared.name
            ),
            Some(declared) => format!(
                "component '{component}' emitted {found} fields to its stream '{}', which declares {}",
                declared.name, declared.fields
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
        self.send_by(stream, pusher(anchor, &mut registered));
    }

    #[inline(always)]
    fn send_by(&mut self, stream: usize, mut push: impl FnMut(&mut FrameBuilder, &[u8])) {
        let Self {
            streams,
            open,
            row,
            emitted,
            ..
        } = self;
        *emitted += 1;
        for edge in &mut streams[stream].edges {
            match edge.router.route(Row::new(row)) {
                Target::One(task) => open.put(edge.first + task as usize, row, &mut push),
                Target::All => {
                    let all = edge.first..edge.first + edge.router.tasks() as usize;
                    put_each(open, all, row, &mut push);
                }
                Target::Chosen => {
                    let chosen = edge.router.chosen().iter();
                    put_each(
                        open,
                        chosen.map(|&task| edge.first + task as usize),
                        row,
                        &mut push,
                    );
                }
            }
        }
    }

    /// An input frame begins.
    pub fn begin_frame(&mut self) {
        self.open.begin_frame();
    }

    /// Ends an input frame: registers what was emitted for it, then acks it.
    pub fn end_frame(&mut self, input: &Frame) {
        if !lacks(Mutation::AckFirst) {
            self.open.register_all();
        }
        for held in &input.groups {
            self.open.ack(held.group, held.roots, input.id);
        }
        if lacks(Mutation::AckFirst) {
            self.open.register_all();
        }
    }

    /// Acks some roots of an input frame, in the order of its groups; what was emitted so far is registered first.
    pub fn ack_part(&mut self, input: &Frame, part: &[RootBits]) {
        self.open.register_all();
        for (held, &roots) in input.groups.iter().zip(part) {
            if roots != [0; 4] {
                self.open.ack(held.group, roots, input.id);
            }
        }
    }

    /// Acks one root of an input frame that ended before; what was emitted so far is registered first.
    pub fn ack_root(&mut self, root: (GroupId, u8), frame: u64) {
        self.open.register_all();
        self.open.tell(root, Change::Xor(frame));
    }

    /// Fails a root.
    pub fn fail_root(&mut self, root: (GroupId, u8)) {
        self.open.tell(root, Change::Fail);
    }

    /// Lets the time of a root begin anew.
    pub fn renew_root(&mut self, root: (GroupId, u8)) {
        self.open.tell(root, Change::Renew);
    }

    /// Drops all that was emitted and not delivered: it is of an epoch that has ended.
    pub fn reset(&mut self) {
        self.open.reset();
    }

    /// Whether a frame is open since before `since` (microseconds).
    #[inline]
    pub fn is_older_than(&self, since: u64) -> bool {
        self.open.opened_at < since
    }

    /// Ships every open frame.
    pub fn flush(&mut self) {
        self.open.flush();
    }

    /// Frames to deliver, in order; taken out as they are read.
    pub fn take_shipped(&mut self) -> Option<std::vec::Drain<'_, Shipped>> {
        if self.row.capacity() > KEPT_ROW {
            self.row = Vec::new();
        }
        (!self.open.shipped.is_empty()).then(|| self.open.shipped.drain(..))
    }

    /// Entries to deliver, in order.
    pub fn entries(&self) -> &[LedgerEntry] {
        &self.open.entries
    }

    /// The entries were delivered.
    pub fn clear_entries(&mut self) {
        self.open.clear_entries();
    }
}

/// The longest row whose memory a task keeps for the next one when a run has ended.
const KEPT_ROW: usize = 64 << 10;

/// Puts a row into several frames. Not inlined, so that the common case of one stays small.
#[inline(never)]
fn put_each(
    open: &mut OpenFrames,
    frames: impl Iterator<Item = usize>,
    row: &[u8],
    push: &mut impl FnMut(&mut FrameBuilder, &[u8]),
) {
    for index in frames {
        open.put(index, row, push);
    }
}

/// Puts a row of one root, or of none, into a frame.
#[inline(always)]
fn pusher(
    anchor: Option<(GroupId, u8)>,
    registered: &mut impl FnMut(u64),
) -> impl FnMut(&mut FrameBuilder, &[u8]) {
    move |builder, row| match anchor {
        Some((group, root)) => {
            if builder.push(row, group, root) {
                registered(builder.id());
            }
        }
        None => builder.push_untracked(row),
    }
}

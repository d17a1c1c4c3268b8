//! What a protocol is to the task that speaks it.
//!
//! Owns: the two sides: [`Speak`] writes and reads messages, [`Ear`] does what they say. Leaves to others: each protocol
//! (its file), what is done ([`crate::task`]).

use waterspout_core::frame::Frame;
use waterspout_core::value::RowWriter;

use super::codec::Fault;

/// Why a program is to be ended: it did what no program may.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Wrong {
    /// It wrote no message.
    #[error("it wrote what is no message of the protocol: {0}")]
    Message(#[from] Fault),
    /// The message says what cannot be.
    #[error("{0}")]
    Rule(String),
}

/// What a program can be asked besides working on tuples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask<'a> {
    /// A tick is due.
    Tick,
    /// All input has ended.
    Finish,
    /// The topology is about to pause.
    Pause,
    /// It may go on.
    Resume,
    /// What was held was failed.
    Forget,
    /// The task moves: what is its state?
    Snapshot,
    /// This is the state to go on from.
    Restore(&'a [u8]),
    /// Does it live?
    Ping,
}

/// What a program answers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// To a tick.
    Ticked,
    /// To [`Ask::Finish`]: whether there is more to emit.
    Finished(bool),
    /// To [`Ask::Pause`].
    Paused,
    /// To [`Ask::Snapshot`].
    State(Vec<u8>),
    /// To [`Ask::Ping`].
    Alive,
}

/// How an emit names its tuples and its target.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Emitted<'a> {
    /// Which output stream.
    pub(crate) output: usize,
    /// The tuples that it belongs to.
    pub(crate) anchors: &'a [u64],
    /// The task that it goes to by name.
    pub(crate) task: Option<u32>,
}

/// What a program said of a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SaidError {
    /// The traceback, or what it said if there is none.
    pub(crate) text: String,
    /// Why, in a word for machines.
    pub(crate) reason: Option<String>,
}

impl SaidError {
    /// Logs it.
    pub(crate) fn hear(text: &str, traceback: &str, reason: Option<&str>) -> Self {
        // A traceback says what is wrong, too.
        let text = if traceback.is_empty() { text } else { traceback };
        tracing::error!("{}", text.trim_end());
        Self {
            text: text.to_owned(),
            reason: reason.map(ToOwned::to_owned),
        }
    }
}

/// Hears what any program may say at any time.
pub(crate) trait Talk {
    /// It works.
    fn alive(&mut self);
    /// It says that something failed, and perhaps why, in a word for machines.
    fn error(&mut self, text: &str, traceback: &str, reason: Option<&str>);
    /// It counts something.
    fn metric(&mut self, name: &str, value: f64);
}

/// Does what a bolt's program says.
pub(crate) trait Ear: Talk {
    /// It is ready to work.
    fn ready(&mut self);
    /// It emits a tuple.
    ///
    /// # Errors
    /// The fault of the row, or a rule that is broken.
    fn emit(
        &mut self,
        emitted: Emitted<'_>,
        row: impl FnOnce(&mut RowWriter<'_>) -> Result<(), Fault>,
    ) -> Result<(), Wrong>;
    /// As [`Ear::emit`]; `told` gets the tasks that the tuple went to.
    ///
    /// # Errors
    /// The same.
    fn emit_and_tell(
        &mut self,
        emitted: Emitted<'_>,
        row: impl FnOnce(&mut RowWriter<'_>) -> Result<(), Fault>,
        told: &mut Vec<u32>,
    ) -> Result<(), Wrong>;
    /// It answers the batch that begins with this id; what it emits for it follows.
    ///
    /// # Errors
    /// If that is not the batch whose turn it is.
    fn batch_begins(&mut self, first: u64) -> Result<(), Wrong>;
    /// The answer to a batch ends.
    ///
    /// # Errors
    /// If an id is none of the batch's.
    fn batch_ends(&mut self, failed: &[u64], held: &[u64]) -> Result<(), Wrong>;
    /// It acks a tuple that it holds.
    ///
    /// # Errors
    /// If there never was such a tuple.
    fn ack(&mut self, id: u64) -> Result<(), Wrong>;
    /// It fails a tuple: one that it holds, or one of the batch that it answers.
    ///
    /// # Errors
    /// If there never was such a tuple.
    fn fail(&mut self, id: u64) -> Result<(), Wrong>;
    /// It answers.
    ///
    /// # Errors
    /// If that is not what it was asked.
    fn answer(&mut self, answer: Answer) -> Result<(), Wrong>;
    /// A message goes back to it at once.
    fn reply(&mut self, message: Vec<u8>);
}

/// A protocol between a bolt's task and its program. What it writes begins with what [`super::host::Host::open`] gave.
pub(crate) trait Speak: Send {
    /// The first message to a program.
    fn hello(&mut self, out: Vec<u8>) -> Vec<u8>;
    /// The rows of a frame, the first of which has this id.
    fn batch(&mut self, out: Vec<u8>, frame: &Frame, first: u64) -> Vec<u8>;
    /// Whether the program decides on each tuple by itself, and not by an answer to the batch.
    fn is_per_tuple(&self) -> bool;
    /// Asks something; `None` if the protocol has no words for it. Whether an answer comes.
    fn ask(&mut self, out: Vec<u8>, what: Ask<'_>) -> Option<(Vec<u8>, bool)>;
    /// Reads a message.
    ///
    /// # Errors
    /// If the program is to be ended for it.
    fn hear(&mut self, message: &[u8], ear: &mut impl Ear) -> Result<(), Wrong>;
}

/// Writes a line that a program wants in the log.
pub(super) fn log(level: &str, text: &str) {
    match level {
        "Trace" => tracing::trace!("{text}"),
        "Debug" => tracing::debug!("{text}"),
        "Warn" => tracing::warn!("{text}"),
        "Error" => tracing::error!("{text}"),
        _ => tracing::info!("{text}"),
    }
}

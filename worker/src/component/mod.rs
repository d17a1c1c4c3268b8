//! Components: what a spout and a bolt are, for the built-in ones and for a user's own.
//!
//! Owns: the traits [`Spout`] and [`Bolt`], what they are handed, a user's own components ([`own`]), and one file per
//! built-in component. Leaves to
//! others: when they are called ([`crate::task`]), and their settings ([`waterspout_core::component`]).

mod concurrent;
pub mod count;
mod decimal;
mod emit;
pub mod fields;
pub mod file_sink;
pub mod file_spout;
mod futures;
pub mod generator;
pub mod line;
mod measure;
pub mod own;
pub mod redis;
pub mod registry;
pub(crate) mod script;
pub mod split;
pub mod state;
pub mod stdout;
#[doc(hidden)]
pub mod testing;
pub(crate) mod troubles;
mod waker;

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;
use waterspout_core::graph::Grouping;
use waterspout_core::value::Row;

pub use concurrent::{AsyncBolt, Outbox, OwnedTuple};
pub(crate) use emit::Dropped;
pub use emit::{Emit, EmitRoot, Held, Patience};
pub(crate) use futures::Futures;
pub(crate) use measure::Measures;
pub use measure::{Counter, Gauge, Histogram};
pub use own::Components;
pub use troubles::Trouble;
pub(crate) use troubles::Troubles;
pub use waker::Waker;

/// Why a component cannot go on. It ends the worker's process: there is no half-alive worker.
#[derive(Debug, Error)]
pub enum ComponentError {
    /// The settings cannot work.
    #[error("{0}")]
    Settings(String),
    /// A tuple cannot be worked on.
    #[error("{0}")]
    Tuple(String),
    /// A file, a server or another thing outside failed.
    #[error("{what}")]
    Outside {
        /// What was tried, with names.
        what: String,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl ComponentError {
    /// A fault of the world outside, while doing `what`.
    pub fn outside(
        what: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Outside {
            what: what.into(),
            source: source.into(),
        }
    }
}

/// What a component is told when it is made.
#[derive(Debug, Clone)]
pub struct Context {
    /// The topology's name.
    pub topology: String,
    /// The component's name.
    pub component: String,
    /// The number of this task in the whole topology.
    pub task: u32,
    /// Which of the component's tasks this is, from 0.
    pub index: u32,
    /// How many tasks the component has.
    pub tasks: u32,
    /// The names of the fields of each input stream, by stream number.
    pub inputs: Vec<InputFields>,
    /// The output streams, in the order of the manifest.
    pub outputs: Vec<OutputShape>,
    /// All components of the topology, with the numbers of their tasks.
    pub components: Vec<(String, std::ops::Range<u32>)>,
    /// What relative paths are relative to.
    pub base: PathBuf,
    /// Whether other processes write to the same standard output.
    pub shared_stdout: bool,
    /// Whether the program that started the worker asked for JSON on standard output.
    pub json_stdout: bool,
    /// What the worker does for it.
    pub(crate) services: Services,
}

/// What a worker does for a component, beside calling it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Services {
    pub(crate) futures: Futures,
    pub(crate) waker: Waker,
    pub(crate) measures: Measures,
    pub(crate) troubles: Troubles,
}

/// One output stream of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputShape {
    /// Its name.
    pub name: String,
    /// Its fields.
    pub fields: Vec<String>,
    /// Whether each tuple names its task.
    pub direct: bool,
    /// The components that read it, with the numbers of their tasks in the topology.
    pub readers: Vec<(String, std::ops::Range<u32>)>,
    /// How each of them reads it.
    pub groupings: Vec<Grouping>,
}

/// One input stream of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputFields {
    /// The stream's number in the graph; [`Tuple::stream`] has the same.
    pub stream: u16,
    /// The component that emits it.
    pub component: String,
    /// Its name.
    pub name: String,
    /// Its fields.
    pub fields: Vec<String>,
    /// How it is read.
    pub grouping: Grouping,
}

impl Context {
    /// What wakes this task from outside its calls: see [`Bolt::woken`].
    pub fn waker(&self) -> Waker {
        self.services.waker.clone()
    }

    /// Which output stream has this name, for [`Emit::emit`].
    ///
    /// # Errors
    /// If none has.
    pub fn output(&self, name: &str) -> Result<usize, ComponentError> {
        let position = self.outputs.iter().position(|output| output.name == name);
        position.ok_or_else(|| {
            let component = &self.component;
            ComponentError::Settings(format!(
                "component '{component}' emits to the stream '{name}'; declare it under 'streams'"
            ))
        })
    }

    /// Where `field` is in each input stream, by stream number.
    ///
    /// # Errors
    /// If an input stream has no such field.
    pub fn field(&self, field: &str) -> Result<FieldIndex, ComponentError> {
        let mut positions = FieldIndex::default();
        for input in &self.inputs {
            let position = input
                .fields
                .iter()
                .position(|name| name == field)
                .ok_or_else(|| {
                    ComponentError::Settings(format!(
                        "component '{}' reads field '{field}', but its input has only: {}",
                        self.component,
                        input.fields.join(", ")
                    ))
                })?;
            positions.by_stream.push((input.stream, position));
        }
        Ok(positions)
    }
}

/// The position of one field in each input stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldIndex {
    by_stream: Vec<(u16, usize)>,
}

impl FieldIndex {
    /// The position in tuples of `stream`.
    #[inline]
    pub fn of(&self, stream: u16) -> usize {
        match self.by_stream.as_slice() {
            [only] => only.1,
            all => all
                .iter()
                .find(|known| known.0 == stream)
                .map_or(usize::MAX, |known| known.1),
        }
    }
}

/// A tuple that a bolt reads.
#[derive(Debug, Clone, Copy)]
pub struct Tuple<'a> {
    /// The number of its stream.
    pub stream: u16,
    /// The task that emitted it.
    pub source: u32,
    /// Its fields.
    pub row: Row<'a>,
}

/// What a spout did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polled {
    /// There is more: poll again at once.
    More,
    /// Nothing now: poll again after this time at the latest, or when an ack or a fail arrives.
    Idle(Duration),
    /// Nothing more will ever come, unless a root fails.
    Done,
}

/// Brings tuples in from outside.
pub trait Spout: Send + 'static {
    /// Emits some tuples, at most about a hundred.
    ///
    /// # Errors
    /// An error ends the worker's process.
    fn poll(&mut self, out: &mut impl EmitRoot) -> Result<Polled, ComponentError>;

    /// The root with this message id is done.
    fn ack(&mut self, message: u64);

    /// The root with this message id failed: emit it again at a later poll.
    fn fail(&mut self, message: u64);

    /// Called after a batch of acks and fails.
    ///
    /// # Errors
    /// An error ends the worker's process.
    fn settled(&mut self) -> Result<(), ComponentError> {
        Ok(())
    }

    /// Called when the spout was paused and nothing is in flight any more, and before its task moves: what it has put off
    /// to tell its source is to be told now.
    ///
    /// # Errors
    /// An error ends the worker's process.
    fn rest(&mut self) -> Result<(), ComponentError> {
        Ok(())
    }

    /// Whether a message id means the same to the next process: the root that goes by it there has the same fields.
    ///
    /// It makes a tuple that kills the process known again. Without it, tuples are told apart by their fields.
    fn ids_last(&self) -> bool {
        false
    }

    /// Where the next process goes on: everything before it is acked. `None` if the source keeps that itself.
    fn position(&self) -> Option<serde_json::Value> {
        None
    }

    /// Takes up at the position that an earlier process reached. Called before the first poll.
    ///
    /// # Errors
    /// If the position is none of this spout's.
    fn resume(&mut self, position: serde_json::Value) -> Result<(), ComponentError> {
        let _ = position;
        Ok(())
    }

    /// Takes up its part, when the number of the component's tasks has changed: these are the positions of all tasks that there
    /// were, by index, as far as they are known. Called before the first poll; more than once if the number changed twice
    /// in a row, the older positions first. By default the task begins at the beginning, since what is whose has changed.
    ///
    /// # Errors
    /// If a position is none of this spout's.
    fn resume_part(&mut self, positions: &[Option<serde_json::Value>]) -> Result<(), ComponentError> {
        let _ = positions;
        Ok(())
    }
}

/// What a bolt that is finishing did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finished {
    /// Call again: there is more to emit.
    More,
    /// Call again when the task was woken: see [`Bolt::woken`].
    Later,
    /// All is emitted.
    Done,
}

/// Takes tuples and emits tuples.
pub trait Bolt: Send + 'static {
    /// Works on one tuple. It is acked by itself afterwards, unless it was failed or held through `out`.
    ///
    /// # Errors
    /// An error ends the worker's process.
    fn execute(&mut self, tuple: Tuple<'_>, out: &mut impl Emit) -> Result<(), ComponentError>;

    /// Called after the last tuple of each frame and before its tuples are acked: a sink writes here.
    ///
    /// # Errors
    /// An error ends the worker's process.
    fn flush(&mut self) -> Result<(), ComponentError> {
        Ok(())
    }

    /// Called every `tickEvery`, between two tuples, while the topology is active. What is emitted has no input that it
    /// belongs to, so it is not tracked. After a delay there is one tick, not all that were missed.
    ///
    /// # Errors
    /// An error ends the worker's process.
    fn tick(&mut self, out: &mut impl Emit) -> Result<(), ComponentError> {
        let _ = out;
        Ok(())
    }

    /// Called soon after the task's [`Waker`] was used, between two tuples: something outside is ready. As in
    /// [`Bolt::tick`] there is no tuple at hand.
    ///
    /// # Errors
    /// An error ends the worker's process.
    fn woken(&mut self, out: &mut impl Emit) -> Result<(), ComponentError> {
        let _ = out;
        Ok(())
    }

    /// Whether the bolt takes another tuple now. Asked before each; once it says no, it is asked again when the task was
    /// woken.
    #[inline]
    fn has_room(&self) -> bool {
        true
    }

    /// How many tuples a task may hold; it gets no more until it has let go of one. 65,536 by default, or what the spouts
    /// have in flight if that is less.
    fn max_held(&self) -> usize {
        65_536
    }

    /// Called when the topology is about to pause, to move this task or to end: what is held had better be acked or
    /// failed soon. What is still held when the drain's time is over is failed.
    ///
    /// # Errors
    /// An error ends the worker's process.
    fn pause(&mut self, out: &mut impl Emit) -> Result<(), ComponentError> {
        let _ = out;
        Ok(())
    }

    /// Called when all that was held was failed, with an epoch that ended: it comes again. What the bolt kept for it is
    /// to be dropped; its [`Held`] tuples have no effect any more.
    fn forget(&mut self) {}

    /// Called when all input has ended: emits what is left, some at a time.
    ///
    /// # Errors
    /// An error ends the worker's process.
    fn finish(&mut self, out: &mut impl Emit) -> Result<Finished, ComponentError> {
        let _ = out;
        Ok(Finished::Done)
    }

    /// The state of this task, when the task moves to another worker. `None` if there is none worth moving.
    ///
    /// Called between tuples; nothing is executed afterwards unless the move is called off.
    ///
    /// # Errors
    /// An error ends the worker's process.
    fn snapshot(&mut self) -> Result<Option<Vec<u8>>, ComponentError> {
        Ok(None)
    }

    /// Takes over a state that [`Bolt::snapshot`] gave elsewhere. Called before the first tuple.
    ///
    /// # Errors
    /// If the bytes are no state of this bolt.
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), ComponentError> {
        let _ = snapshot;
        Ok(())
    }

    /// Takes over what several tasks kept, of whose states this task's part is a part.
    ///
    /// # Errors
    /// If the bytes are no states of this bolt.
    fn restore_all(&mut self, snapshots: &[&[u8]]) -> Result<(), ComponentError> {
        snapshots.iter().try_for_each(|snapshot| self.restore(snapshot))
    }

    /// Forgets all keys of the state but these. Whether it can; called before anything is restored to find that out.
    ///
    /// When the number of the component's tasks changes, a bolt that can is handed the states of all tasks that may have some
    /// of its keys, and keeps its own; one that cannot is handed the states of some tasks as they are, each of one task. A key
    /// is the encodings of its fields, one behind the other, as [`state::key_of`] makes it.
    fn keep_keys(&mut self, is_own: &dyn Fn(&[u8]) -> bool) -> bool {
        let _ = is_own;
        false
    }
}

/// A field that had to hold a text does not.
pub(crate) fn not_text(component: &str, field: &str) -> ComponentError {
    ComponentError::Tuple(format!(
        "component '{component}' got a tuple whose field '{field}' is no text"
    ))
}

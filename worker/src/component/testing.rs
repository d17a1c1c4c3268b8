//! Records what components emit, and makes what they are told, for their tests.

use std::sync::Arc;

use waterspout_core::value::{Row, RowWriter, Value};

use super::{ComponentError, Context, Emit, EmitRoot, Held, Patience};

/// What task `index` of so many is told, without inputs and outputs.
pub fn context(component: &str, index: u32, tasks: u32) -> Context {
    Context {
        topology: "test".into(),
        component: component.into(),
        task: index,
        index,
        tasks,
        inputs: Vec::new(),
        components: Vec::new(),
        outputs: Vec::new(),
        base: ".".into(),
        shared_stdout: false,
        json_stdout: false,
        services: Default::default(),
    }
}

/// What was emitted.
#[derive(Debug)]
pub struct Recorder {
    /// Stream, message id (0 from a bolt) and fields of each tuple.
    pub tuples: Vec<(usize, u64, Vec<Value>)>,
    /// How many more roots may be emitted.
    pub room: usize,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            tuples: Vec::new(),
            room: usize::MAX,
        }
    }
}

impl Recorder {
    /// The texts of the first fields, as far as they are texts.
    pub fn texts(&self) -> Vec<String> {
        let first = |tuple: &(usize, u64, Vec<Value>)| match tuple.2.first() {
            Some(Value::Text(text)) => Some(text.clone()),
            _ => None,
        };
        self.tuples.iter().filter_map(first).collect()
    }

    fn record(&mut self, stream: usize, message: u64, row: impl FnOnce(&mut RowWriter<'_>)) {
        let mut data = Vec::new();
        row(&mut RowWriter::new(&mut data));
        self.tuples.push((
            stream,
            message,
            Row::new(&data).iter().map(|value| value.to_value()).collect(),
        ));
    }
}

impl Emit for Recorder {
    fn emit(&mut self, stream: usize, row: impl FnOnce(&mut RowWriter<'_>)) -> Result<(), ComponentError> {
        self.record(stream, 0, row);
        Ok(())
    }

    fn emit_direct(
        &mut self,
        stream: usize,
        _task: u32,
        row: impl FnOnce(&mut RowWriter<'_>),
    ) -> Result<(), ComponentError> {
        self.emit(stream, row)
    }

    fn emit_unanchored(
        &mut self,
        stream: usize,
        row: impl FnOnce(&mut RowWriter<'_>),
    ) -> Result<(), ComponentError> {
        self.emit(stream, row)
    }

    fn emit_anchored(
        &mut self,
        _anchors: &[&Held],
        stream: usize,
        row: impl FnOnce(&mut RowWriter<'_>),
    ) -> Result<(), ComponentError> {
        self.emit(stream, row)
    }

    fn fail(&mut self) {}

    fn hold(&mut self, _patience: Patience) -> Held {
        Held::new(0, Arc::default())
    }

    fn ack(&mut self, _held: Held) {}

    fn fail_held(&mut self, _held: Held) {}

    fn renew(&mut self, _held: &Held) {}
}

impl EmitRoot for Recorder {
    fn emit_untracked(
        &mut self,
        stream: usize,
        row: impl FnOnce(&mut RowWriter<'_>),
    ) -> Result<(), ComponentError> {
        self.emit(stream, row)
    }

    fn emit_root(
        &mut self,
        stream: usize,
        message: u64,
        row: impl FnOnce(&mut RowWriter<'_>),
    ) -> Result<(), ComponentError> {
        self.room = self.room.saturating_sub(1);
        self.record(stream, message, row);
        Ok(())
    }

    fn emit_root_direct(
        &mut self,
        stream: usize,
        _task: u32,
        message: u64,
        row: impl FnOnce(&mut RowWriter<'_>),
    ) -> Result<(), ComponentError> {
        self.emit_root(stream, message, row)
    }

    fn room(&self) -> usize {
        self.room
    }
}

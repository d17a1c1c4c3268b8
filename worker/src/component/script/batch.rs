//! Waterspout's own script protocol: whole batches in a message. `docs/reference/script-protocol.md` is its page.
//!
//! Owns: its messages, for bolts; those that spouts have too. Leaves to others: bytes ([`super::codec`]), what is done
//! about a message ([`super::speak::Ear`]). Pure.

use std::borrow::Cow;

use waterspout_core::frame::Frame;
use waterspout_core::graph::Role;
use waterspout_core::value::{Row, RowWriter, ValueRef, check_row};

use super::super::Context;
use super::codec::{Encoding, Fault, Items, JsonReader, JsonWriter, PackReader, PackWriter, Read, Write};
use super::handshake::{chosen, hello};
use super::speak::{Answer, Ask, Ear, Emitted, Speak, Talk, Wrong, log};

/// The protocol, as a bolt's task speaks it.
pub(crate) struct BatchProtocol {
    hello: Vec<u8>,
    /// Positions of the inputs by stream number.
    inputs: Vec<(u16, usize, usize)>,
    direct: Vec<bool>,
    encoding: Option<Encoding>,
    anchors: Anchors,
}

/// The anchors of a run of tuples.
#[derive(Default)]
struct Anchors {
    ids: Vec<u64>,
    /// Where those of each tuple end.
    ends: Vec<u32>,
}

impl Anchors {
    fn of(&self, row: usize) -> Option<&[u64]> {
        let end = *self.ends.get(row)? as usize;
        let start = if row == 0 { 0 } else { self.ends[row - 1] as usize };
        Some(&self.ids[start..end])
    }

    #[inline]
    fn read<'a, R: Read<'a>>(&mut self, reader: &mut R) -> Result<(), Fault> {
        self.ids.clear();
        self.ends.clear();
        let mut items = reader.array()?;
        while reader.next(&mut items)? {
            if reader.is_array() {
                let mut several = reader.array()?;
                while reader.next(&mut several)? {
                    self.ids.push(reader.unsigned()?);
                }
            } else if !reader.null() {
                self.ids.push(reader.unsigned()?);
            }
            self.ends.push(self.ids.len() as u32);
        }
        Ok(())
    }
}

impl BatchProtocol {
    pub(super) fn new(context: &Context, config: &serde_json::Value, script: Option<&str>) -> Self {
        Self {
            hello: hello(context, Role::Bolt, config, script),
            inputs: context
                .inputs
                .iter()
                .enumerate()
                .map(|(position, input)| (input.stream, position, input.fields.len()))
                .collect(),
            direct: context.outputs.iter().map(|output| output.direct).collect(),
            encoding: None,
            anchors: Anchors::default(),
        }
    }

    fn write_batch<W: Write>(&self, out: Vec<u8>, frame: &Frame, first: u64) -> Vec<u8> {
        let mut writer = W::new(out);
        let input = self.inputs.iter().find(|input| input.0 == frame.stream);
        let (position, fields) = input.map_or((0, 0), |input| (input.1, input.2));
        writer.begin(5);
        writer.text("batch");
        writer.int(first as i64);
        writer.int(position as i64);
        writer.int(i64::from(frame.source));
        writer.begin(frame.rows());
        for row in 0..frame.rows() {
            writer.row(frame.row(row), fields);
        }
        writer.end();
        writer.end();
        writer.done()
    }

    fn hear_with<'a, R: Read<'a>>(&mut self, message: &'a [u8], ear: &mut impl Ear) -> Result<(), Wrong> {
        let (kind, mut reader, mut items) = begin::<R>(message)?;
        match kind.as_ref() {
            "done" => {
                if !reader.next(&mut items)? {
                    return Err(Wrong::Rule(
                        "it wrote `done` without the number of a batch".to_owned(),
                    ));
                }
                ear.batch_begins(reader.unsigned()?)?;
                if reader.next(&mut items)? {
                    self.emits(&mut reader, ear)?;
                }
                let mut lists = [Vec::new(), Vec::new()];
                for list in &mut lists {
                    if reader.next(&mut items)? {
                        ids(&mut reader, list)?;
                    }
                }
                ear.batch_ends(&lists[0], &lists[1])?;
            }
            "emit" => {
                if reader.next(&mut items)? {
                    self.emits(&mut reader, ear)?;
                }
            }
            "ack" | "fail" => {
                let mut list = Vec::new();
                if reader.next(&mut items)? {
                    ids(&mut reader, &mut list)?;
                }
                for id in list {
                    if kind == "ack" {
                        ear.ack(id)?
                    } else {
                        ear.fail(id)?
                    }
                }
            }
            "ticked" | "paused" | "finished" => {
                if reader.next(&mut items)? {
                    self.emits(&mut reader, ear)?;
                }
                let more = reader.next(&mut items)? && !reader.null() && reader.bool()?;
                ear.answer(match kind.as_ref() {
                    "ticked" => Answer::Ticked,
                    "paused" => Answer::Paused,
                    _ => Answer::Finished(more),
                })?;
            }
            "state" => {
                let mut state = Vec::new();
                if reader.next(&mut items)? && !reader.null() {
                    read_state(&mut reader, &mut state)?;
                }
                ear.answer(Answer::State(state))?;
            }
            "pong" => ear.answer(Answer::Alive)?,
            other => {
                say(other, &mut reader, &mut items, ear)?;
                return at_end(&mut reader);
            }
        }
        reader.skip_rest(&mut items)?;
        at_end(&mut reader)
    }

    /// A list of emits.
    fn emits<'a, R: Read<'a>>(&mut self, reader: &mut R, ear: &mut impl Ear) -> Result<(), Wrong> {
        if reader.null() {
            return Ok(());
        }
        let mut runs = reader.array()?;
        while reader.next(&mut runs)? {
            let mut parts = reader.array()?;
            let needs = |has: bool| {
                let rule = "it wrote emits that are not [output, anchors, rows]";
                if has {
                    Ok(())
                } else {
                    Err(Wrong::Rule(rule.to_owned()))
                }
            };
            needs(reader.next(&mut parts)?)?;
            let output = reader.unsigned()? as usize;
            needs(reader.next(&mut parts)?)?;
            self.anchors.read(reader)?;
            needs(reader.next(&mut parts)?)?;
            let mut tasks = Vec::new();
            if self.direct.get(output) == Some(&true) {
                let (mut ahead, mut parts) = (reader.clone(), parts);
                ahead.skip()?;
                if ahead.next(&mut parts)? {
                    ids(&mut ahead, &mut tasks)?;
                }
            }
            self.rows(reader, ear, output, &tasks)?;
            reader.skip_rest(&mut parts)?;
        }
        Ok(())
    }

    fn rows<'a, R: Read<'a>>(
        &mut self,
        reader: &mut R,
        ear: &mut impl Ear,
        output: usize,
        tasks: &[u64],
    ) -> Result<(), Wrong> {
        let is_direct = self.direct.get(output) == Some(&true);
        let count = |found: usize| {
            Wrong::Rule(format!(
                "it wrote an emit with more than {found} rows, and anchors or tasks for {found}"
            ))
        };
        let mut rows = reader.array()?;
        let mut row = 0;
        while reader.next(&mut rows)? {
            let anchors = self.anchors.of(row).ok_or_else(|| count(row))?;
            let task = match tasks.get(row) {
                Some(&task) => Some(u32::try_from(task).unwrap_or(u32::MAX)),
                None if is_direct => return Err(count(row)),
                None => None,
            };
            let emitted = Emitted {
                output,
                anchors,
                task,
            };
            let before = reader.clone();
            let read = ear.emit(emitted, |row| {
                let mut fields = reader.array()?;
                while reader.next(&mut fields)? {
                    reader.field(row, 0)?;
                }
                Ok(())
            });
            match read {
                Err(Wrong::Message(fault)) if fault.is_of_value() => {
                    *reader = before;
                    reader.skip()?;
                    ear.error(&format!("a tuple cannot be emitted: {fault}"), "", None);
                    anchors.iter().try_for_each(|&id| ear.fail(id))?;
                }
                read => read?,
            }
            row += 1;
        }
        if row < self.anchors.ends.len() {
            return Err(Wrong::Rule(format!(
                "it wrote an emit with {row} rows, and anchors for {}",
                self.anchors.ends.len()
            )));
        }
        Ok(())
    }
}

/// Begins to read a message: what it is, and what is left of it.
pub(super) fn begin<'a, R: Read<'a>>(message: &'a [u8]) -> Result<(Cow<'a, str>, R, Items), Wrong> {
    let mut reader = R::new(message);
    let mut items = reader.array()?;
    if !reader.next(&mut items)? {
        return Err(Wrong::Rule("it wrote an empty message".to_owned()));
    }
    Ok((reader.text()?, reader, items))
}

/// Nothing may come behind a message.
fn at_end<'a, R: Read<'a>>(reader: &mut R) -> Result<(), Wrong> {
    if reader.is_at_end() {
        return Ok(());
    }
    Err(Wrong::Rule(
        "it wrote more than one message in the place of one".to_owned(),
    ))
}

/// A list of ids.
pub(super) fn ids<'a, R: Read<'a>>(reader: &mut R, list: &mut Vec<u64>) -> Result<(), Fault> {
    if reader.null() {
        return Ok(());
    }
    let mut items = reader.array()?;
    while reader.next(&mut items)? {
        list.push(reader.unsigned()?);
    }
    Ok(())
}

/// What bolts and spouts may say at any time.
pub(super) fn say<'a, R: Read<'a>>(
    kind: &str,
    reader: &mut R,
    items: &mut super::codec::Items,
    ear: &mut impl Talk,
) -> Result<(), Wrong> {
    let first = if kind == "alive" || !reader.next(items)? {
        None
    } else {
        Some(reader.text()?)
    };
    match (kind, first) {
        ("alive", _) => ear.alive(),
        ("log", Some(level)) => {
            if reader.next(items)? {
                log(&level, &reader.text()?);
            }
        }
        ("error", Some(text)) => {
            let traceback = if reader.next(items)? && !reader.null() {
                reader.text()?.into_owned()
            } else {
                String::new()
            };
            let reason = if reader.next(items)? && !reader.null() {
                Some(reader.text()?)
            } else {
                None
            };
            ear.error(&text, &traceback, reason.as_deref());
        }
        ("metric", Some(name)) => {
            if reader.next(items)? {
                let value = match reader.value()? {
                    waterspout_core::value::Value::Int(value) => value as f64,
                    waterspout_core::value::Value::Float(value) => value,
                    _ => return Err(Wrong::Rule(format!("it counts `{name}` by what is no number"))),
                };
                ear.metric(&name, value);
            }
        }
        (other, _) => {
            return Err(Wrong::Rule(format!(
                "it wrote a message `{other}`, which the protocol does not have here"
            )));
        }
    }
    reader.skip_rest(items)?;
    Ok(())
}

/// The parts of a state, one behind the other: the length of each in four bytes, and a row of key and value.
fn read_state<'a, R: Read<'a>>(reader: &mut R, state: &mut Vec<u8>) -> Result<(), Fault> {
    let mut parts = reader.array()?;
    while reader.next(&mut parts)? {
        let mut data = Vec::new();
        let mut row = RowWriter::new(&mut data);
        let mut fields = reader.array()?;
        while reader.next(&mut fields)? {
            reader.field(&mut row, 0)?;
        }
        if row.fields() != 2 {
            return Err(Fault::Value("a part of a state is not [key, value]"));
        }
        state.extend_from_slice(&(data.len() as u32).to_le_bytes());
        state.extend_from_slice(&data);
    }
    Ok(())
}

/// The rows of [`read_state`]; `None` if the bytes are none of it.
pub(super) fn parts(mut state: &[u8]) -> Option<Vec<Row<'_>>> {
    let mut parts = Vec::new();
    while !state.is_empty() {
        let (length, rest) = state.split_first_chunk::<4>()?;
        let (part, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        check_row(part, 2).ok()?;
        parts.push(Row::new(part));
        state = rest;
    }
    Some(parts)
}

fn write_ask<W: Write>(out: Vec<u8>, what: Ask<'_>) -> Option<(Vec<u8>, bool)> {
    let (name, answers) = match what {
        Ask::Tick => ("tick", true),
        Ask::Finish => ("finish", true),
        Ask::Pause => ("pause", true),
        Ask::Resume => return None,
        Ask::Forget => ("forget", false),
        Ask::Snapshot => ("snapshot", true),
        Ask::Restore(_) => ("restore", false),
        Ask::Ping => ("ping", true),
    };
    let mut writer = W::new(out);
    writer.begin(if matches!(what, Ask::Restore(_) | Ask::Ping) {
        2
    } else {
        1
    });
    writer.text(name);
    match what {
        Ask::Restore(state) => {
            let parts = parts(state).unwrap_or_default();
            writer.begin(parts.len());
            parts.into_iter().for_each(|part| writer.row(part, 2));
            writer.end();
        }
        Ask::Ping => writer.value(ValueRef::Int(0)),
        _ => {}
    }
    writer.end();
    Some((writer.done(), answers))
}

impl Speak for BatchProtocol {
    fn hello(&mut self, mut out: Vec<u8>) -> Vec<u8> {
        self.encoding = None;
        out.extend_from_slice(&self.hello);
        out
    }

    fn batch(&mut self, out: Vec<u8>, frame: &Frame, first: u64) -> Vec<u8> {
        match self.encoding {
            Some(Encoding::MessagePack) => self.write_batch::<PackWriter>(out, frame, first),
            _ => self.write_batch::<JsonWriter>(out, frame, first),
        }
    }

    fn is_per_tuple(&self) -> bool {
        false
    }

    fn ask(&mut self, out: Vec<u8>, what: Ask<'_>) -> Option<(Vec<u8>, bool)> {
        match self.encoding {
            Some(Encoding::MessagePack) => write_ask::<PackWriter>(out, what),
            _ => write_ask::<JsonWriter>(out, what),
        }
    }

    fn hear(&mut self, message: &[u8], ear: &mut impl Ear) -> Result<(), Wrong> {
        match self.encoding {
            Some(Encoding::MessagePack) => self.hear_with::<PackReader<'_>>(message, ear),
            Some(Encoding::Json) => self.hear_with::<JsonReader<'_>>(message, ear),
            None => match chosen(message)? {
                Some(encoding) => {
                    self.encoding = Some(encoding);
                    ear.ready();
                    Ok(())
                }
                None => self.hear_with::<JsonReader<'_>>(message, ear),
            },
        }
    }
}

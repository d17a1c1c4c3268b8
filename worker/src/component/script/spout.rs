//! A spout whose code runs in a program.
//!
//! Owns: when the program is asked for roots, its message ids, its position. Leaves to others: the program's life
//! ([`super::host`]). Invariants: an id comes back to the program that gave it, and to no later one; the program is asked
//! for the next roots before those of the last answer are worked off, so that it need not wait.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use waterspout_core::value::{Row, RowWriter, Value};

use super::super::{ComponentError, Context, EmitRoot, Polled, Spout};
use super::batch::{begin, say};
use super::codec::{Encoding, Fault, JsonReader, JsonWriter, PackReader, PackWriter, Read, Write};
use super::gave_up;
use super::handshake::chosen;
use super::host::{Event, Host};
use super::messages::{Messages, Said};
use super::speak::{Talk, Wrong};

/// Most roots that are asked for at once.
const MOST: usize = 512;
/// Most messages that are read in one poll.
const AT_ONCE: usize = 4096;
/// How long a poll waits for the program.
const WAIT: Duration = Duration::from_millis(5);
/// The longest that a program may want to rest.
const LONGEST: Duration = Duration::from_secs(3600);
/// What a script's spout is bound by.
#[derive(Debug, Clone)]
pub(super) struct SpoutLimits {
    pub(super) answer_timeout: Duration,
}

/// The spout.
pub(crate) struct ScriptSpout {
    component: String,
    hello: Vec<u8>,
    host: Host,
    limits: SpoutLimits,
    direct: Vec<bool>,
    encoding: Option<Encoding>,
    life: u32,
    /// Polls under way: since when, and for how many roots.
    asked: VecDeque<(Instant, usize)>,
    messages: Messages,
    acked: Vec<u64>,
    failed: Vec<u64>,
    position: Option<Value>,
    said: Said,
}

/// What an answer to a poll came to.
struct Answered {
    roots: usize,
    idle: Option<i64>,
}

impl ScriptSpout {
    pub(super) fn new(hello: Vec<u8>, host: Host, limits: SpoutLimits, context: &Context) -> Self {
        Self {
            component: context.component.clone(),
            hello,
            host,
            limits,
            direct: context.outputs.iter().map(|output| output.direct).collect(),
            encoding: None,
            life: 0,
            asked: VecDeque::new(),
            messages: Messages::default(),
            acked: Vec::new(),
            failed: Vec::new(),
            position: None,
            said: Said::default(),
        }
    }

    fn send(&self, write: impl FnOnce(&mut Writer)) {
        let mut writer = match self.encoding {
            Some(Encoding::MessagePack) => Writer::Pack(PackWriter::new(self.host.open())),
            _ => Writer::Json(JsonWriter::new(self.host.open())),
        };
        write(&mut writer);
        self.host.send(self.life, writer.done());
    }

    /// Tells the program what became of its roots.
    fn settle(&mut self) {
        if self.encoding.is_none() || self.acked.is_empty() && self.failed.is_empty() {
            return;
        }
        let acked: Vec<_> = self
            .acked
            .drain(..)
            .filter_map(|message| self.messages.finish(message))
            .collect();
        let failed: Vec<_> = self
            .failed
            .drain(..)
            .filter_map(|message| self.messages.fail(message))
            .collect();
        self.send(|writer| {
            writer.begin(3);
            writer.text("settle");
            for list in [&acked, &failed] {
                writer.begin(list.len());
                list.iter().for_each(|id| writer.encoded(id));
                writer.end();
            }
            writer.end();
        });
    }

    fn ask(&mut self, room: usize) {
        self.settle();
        let room = room.min(MOST);
        self.asked.push_back((Instant::now(), room));
        self.send(|writer| {
            writer.begin(2);
            writer.text("poll");
            writer.int(room as i64);
            writer.end();
        });
    }

    /// Takes what happened. What the first answer to a poll came to.
    fn listen(&mut self, out: &mut impl EmitRoot) -> Result<Option<Answered>, ComponentError> {
        // A program that logs without end must not keep the task from everything else.
        for _ in 0..AT_ONCE {
            let Some(event) = self.host.take() else { break };
            match event {
                Event::Began(life) => {
                    self.life = life;
                    self.encoding = None;
                    let mut hello = self.host.open();
                    hello.extend_from_slice(&self.hello);
                    self.host.send(life, hello);
                }
                Event::Died => {
                    self.encoding = None;
                    self.asked.clear();
                    self.messages.forget();
                    self.acked.clear();
                    self.failed.clear();
                }
                Event::GaveUp(why) => return Err(gave_up(&self.component, why)),
                Event::Message(message) => {
                    let heard = match self.encoding {
                        None => self.shake_hands(&message).map(|()| None),
                        Some(Encoding::MessagePack) => self.hear::<PackReader<'_>>(&message, out),
                        Some(Encoding::Json) => self.hear::<JsonReader<'_>>(&message, out),
                    };
                    if let Some(error) = self.said.error.take() {
                        self.host.said(error);
                    }
                    match heard {
                        Ok(None) => {}
                        Ok(answered) => return Ok(answered),
                        Err(wrong) => self.host.kill(self.life, wrong.to_string()),
                    }
                }
            }
        }
        Ok(None)
    }

    fn shake_hands(&mut self, message: &[u8]) -> Result<(), Wrong> {
        let Some(encoding) = chosen(message)? else {
            let mut reader = JsonReader::new(message);
            let mut items = reader.array()?;
            if reader.next(&mut items)? {
                let kind = reader.text()?;
                say(&kind, &mut reader, &mut items, &mut self.said)?;
            }
            return Ok(());
        };
        self.encoding = Some(encoding);
        self.host.is_ready();
        if let Some(position) = &self.position {
            let encoded = position.encode();
            self.send(|writer| {
                writer.begin(2);
                writer.text("resume");
                writer.encoded(&encoded);
                writer.end();
            });
        }
        Ok(())
    }

    fn hear<'a, R: Read<'a>>(
        &mut self,
        message: &'a [u8],
        out: &mut impl EmitRoot,
    ) -> Result<Option<Answered>, Wrong> {
        let (kind, mut reader, mut items) = begin::<R>(message)?;
        match kind.as_ref() {
            "polled" => {
                let Some((_, room)) = self.asked.pop_front() else {
                    return Err(Wrong::Rule("it answered a poll that was not asked".to_owned()));
                };
                self.host.has_worked();
                let mut answered = Answered { roots: 0, idle: None };
                if reader.next(&mut items)? {
                    answered.roots = self.emits(&mut reader, room, out)?;
                }
                if reader.next(&mut items)? && !reader.null() {
                    answered.idle = Some(reader.int()?);
                }
                if reader.next(&mut items)? && !reader.null() {
                    self.position = Some(reader.value()?);
                }
                reader.skip_rest(&mut items)?;
                Ok(Some(answered))
            }
            "paused" | "pong" => Ok(None),
            other => {
                say(other, &mut reader, &mut items, &mut self.said)?;
                if std::mem::take(&mut self.said.is_alive) {
                    self.asked.iter_mut().for_each(|asked| asked.0 = Instant::now());
                }
                Ok(None)
            }
        }
    }

    fn emits<'a, R: Read<'a>>(
        &mut self,
        reader: &mut R,
        room: usize,
        out: &mut impl EmitRoot,
    ) -> Result<usize, Wrong> {
        let shape = || Wrong::Rule("it wrote emits that are not [output, ids, rows]".to_owned());
        let mut roots = 0;
        if reader.null() {
            return Ok(roots);
        }
        let mut runs = reader.array()?;
        while reader.next(&mut runs)? {
            let mut parts = reader.array()?;
            if !reader.next(&mut parts)? {
                return Err(shape());
            }
            let output = reader.unsigned()? as usize;
            if !reader.next(&mut parts)? {
                return Err(shape());
            }
            let mut message_ids: Vec<Option<Vec<u8>>> = Vec::new();
            let mut list = reader.array()?;
            while reader.next(&mut list)? {
                message_ids.push(if reader.null() {
                    None
                } else {
                    let mut id = Vec::new();
                    reader.field(&mut RowWriter::new(&mut id), 0)?;
                    Some(id)
                });
            }
            if !reader.next(&mut parts)? {
                return Err(shape());
            }
            let mut tasks = Vec::new();
            if self.direct.get(output) == Some(&true) {
                let (mut ahead, mut parts) = (reader.clone(), parts);
                ahead.skip()?;
                if ahead.next(&mut parts)? {
                    super::batch::ids(&mut ahead, &mut tasks)?;
                }
            }
            let mut rows = reader.array()?;
            let mut row = 0;
            while reader.next(&mut rows)? {
                let id = message_ids
                    .get(row)
                    .ok_or_else(|| Wrong::Rule("it wrote more roots than message ids".to_owned()))?;
                if roots + row == room {
                    return Err(Wrong::Rule(format!(
                        "it emitted more than the {room} roots that it was asked for"
                    )));
                }
                self.root(reader, out, output, id.as_deref(), tasks.get(row).copied())?;
                row += 1;
            }
            roots += row;
            reader.skip_rest(&mut parts)?;
        }
        Ok(roots)
    }

    fn root<'a, R: Read<'a>>(
        &mut self,
        reader: &mut R,
        out: &mut impl EmitRoot,
        output: usize,
        id: Option<&[u8]>,
        task: Option<u64>,
    ) -> Result<(), Wrong> {
        let mut data = Vec::new();
        let mut row = RowWriter::new(&mut data);
        let before = reader.clone();
        match read_row(reader, &mut row) {
            Err(fault) if fault.is_of_value() => {
                *reader = before;
                reader.skip()?;
                self.said
                    .error(&format!("a tuple cannot be emitted: {fault}"), "", None);
                return Ok(());
            }
            read => read?,
        }
        let fields = row.fields();
        let write = |row: &mut RowWriter<'_>| {
            row.encoded(&data, fields);
        };
        let emitted = match (id, task) {
            (None, _) => out.emit_untracked(output, write),
            (Some(id), None) => out.emit_root(output, self.messages.of(id), write),
            (Some(id), Some(task)) => {
                let task = u32::try_from(task).unwrap_or(u32::MAX);
                out.emit_root_direct(output, task, self.messages.of(id), write)
            }
        };
        emitted.map_err(|error| Wrong::Rule(error.to_string()))
    }
}

fn read_row<'a, R: Read<'a>>(reader: &mut R, row: &mut RowWriter<'_>) -> Result<(), Fault> {
    let mut fields = reader.array()?;
    while reader.next(&mut fields)? {
        reader.field(row, 0)?;
    }
    Ok(())
}

impl Spout for ScriptSpout {
    fn poll(&mut self, out: &mut impl EmitRoot) -> Result<Polled, ComponentError> {
        let room = out.room();
        if self.encoding.is_some() && self.asked.is_empty() && room > 0 {
            self.ask(room);
        }
        let mut answered = self.listen(out)?;
        if answered.is_none() && self.host.wait(WAIT) {
            answered = self.listen(out)?;
        }
        if let Some((since, _)) = self.asked.front()
            && since.elapsed() >= self.limits.answer_timeout
        {
            let limit = self.limits.answer_timeout;
            let why =
                format!("it has not answered for {limit:?}; raise 'limits.answerTimeout' if it needs longer");
            self.host.kill(self.life, why);
        }
        Ok(match answered {
            None => Polled::Idle(Duration::from_millis(1)),
            Some(Answered { idle: Some(-1), .. }) => Polled::Done,
            Some(Answered {
                idle: Some(millis), ..
            }) => Polled::Idle(Duration::from_millis(u64::try_from(millis).unwrap_or(1)).min(LONGEST)),
            Some(Answered { roots, idle: None }) => {
                let room = room.saturating_sub(roots);
                if room > 0 && self.asked.is_empty() {
                    self.ask(room);
                }
                Polled::More
            }
        })
    }

    fn ack(&mut self, message: u64) {
        self.acked.push(message);
    }

    fn fail(&mut self, message: u64) {
        self.failed.push(message);
    }

    fn settled(&mut self) -> Result<(), ComponentError> {
        // Otherwise the next poll takes it along.
        if self.asked.is_empty() {
            self.settle();
        }
        Ok(())
    }

    fn position(&self) -> Option<Json> {
        let position = self.position.as_ref()?.encode();
        let mut writer = JsonWriter::new(Vec::new());
        writer.value(Row::new(&position).get(0)?);
        serde_json::from_slice(&writer.done()).ok()
    }

    fn resume(&mut self, position: Json) -> Result<(), ComponentError> {
        let text = position.to_string();
        let value = JsonReader::new(text.as_bytes()).value();
        self.position = Some(value.map_err(|fault| ComponentError::Settings(fault.to_string()))?);
        Ok(())
    }
}

/// Writes in the encoding that was chosen.
enum Writer {
    Pack(PackWriter),
    Json(JsonWriter),
}

impl Writer {
    fn begin(&mut self, elements: usize) {
        match self {
            Self::Pack(writer) => writer.begin(elements),
            Self::Json(writer) => writer.begin(elements),
        }
    }

    fn end(&mut self) {
        match self {
            Self::Pack(writer) => writer.end(),
            Self::Json(writer) => writer.end(),
        }
    }

    fn text(&mut self, text: &str) {
        match self {
            Self::Pack(writer) => writer.text(text),
            Self::Json(writer) => writer.text(text),
        }
    }

    fn int(&mut self, value: i64) {
        match self {
            Self::Pack(writer) => writer.int(value),
            Self::Json(writer) => writer.int(value),
        }
    }

    /// A value in the encoding of rows.
    fn encoded(&mut self, bytes: &[u8]) {
        let Some(value) = Row::new(bytes).get(0) else {
            return;
        };
        match self {
            Self::Pack(writer) => writer.value(value),
            Self::Json(writer) => writer.value(value),
        }
    }

    fn done(self) -> Vec<u8> {
        match self {
            Self::Pack(writer) => writer.done(),
            Self::Json(writer) => writer.done(),
        }
    }
}

#[cfg(test)]
mod tests;

//! Storm's multilang protocol, for bolts: a message for each tuple, and one for each word about it.
//!
//! Owns: its messages. Leaves to others: bytes ([`super::codec`]), what is done about a message ([`super::speak::Ear`]).
//! Pure. A tuple's id is its number as a text; those of ticks and heartbeats begin with a letter.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use waterspout_core::component::script::Serializer;
use waterspout_core::frame::Frame;
use waterspout_core::graph::Grouping;
use waterspout_core::value::{RowWriter, Value};

use super::super::Context;
use super::codec::{JsonReader, JsonWriter, PackReader, PackWriter, Read, Write};
use super::framing::Framing;
use super::speak::{Answer, Ask, Ear, Emitted, Speak, Wrong, log};

/// The protocol, as a bolt's task speaks it.
pub(crate) struct Multilang {
    serializer: Serializer,
    hello: Json,
    /// By stream number: component, stream, number of fields.
    inputs: Vec<(u16, String, String, usize)>,
    outputs: Vec<String>,
    tick_seconds: i64,
    /// Heartbeats that are not answered.
    heartbeats: u32,
    ticks: u64,
    has_pid: bool,
}

/// What a component written for Storm is told first.
pub(super) fn hello(context: &Context, config: &Json, pid_directory: &str) -> Json {
    let mut conf = json!({
        "topology.name": context.topology,
        "topology.message.timeout.secs": 30,
        "topology.tick.tuple.freq.secs": null,
    });
    if let (Some(conf), Some(config)) = (conf.as_object_mut(), config.as_object()) {
        conf.extend(config.clone());
    }
    let mut names: BTreeMap<String, &str> = BTreeMap::new();
    for (component, tasks) in &context.components {
        names.extend(tasks.clone().map(|task| (task.to_string(), component.as_str())));
    }
    let mut targets = serde_json::Map::new();
    let mut fields = serde_json::Map::new();
    for output in &context.outputs {
        let readers = output
            .readers
            .iter()
            .zip(&output.groupings)
            .map(|((component, _), how)| (component.clone(), grouping(how, &output.fields)));
        targets.insert(
            output.name.clone(),
            readers.collect::<serde_json::Map<_, _>>().into(),
        );
        fields.insert(output.name.clone(), output.fields.clone().into());
    }
    let mut source_fields = json!({});
    let mut source_groupings = json!({});
    for input in &context.inputs {
        source_fields[&input.component][&input.name] = input.fields.clone().into();
        source_groupings[&input.component][&input.name] = grouping(&input.grouping, &input.fields);
    }
    json!({
        "conf": conf,
        "pidDir": pid_directory,
        "context": {
            "task->component": names,
            "taskid": context.task,
            "componentid": context.component,
            "streams": context.outputs.iter().map(|output| output.name.as_str()).collect::<Vec<_>>(),
            "stream->target->grouping": targets,
            "stream->outputfields": fields,
            "source->stream->fields": source_fields,
            "source->stream->grouping": source_groupings,
        },
    })
}

/// A grouping as Storm names it. What it does not have is a custom one.
fn grouping(grouping: &Grouping, fields: &[String]) -> Json {
    let kind = match grouping {
        Grouping::Shuffle => "SHUFFLE",
        Grouping::LocalOrShuffle => "LOCAL_OR_SHUFFLE",
        Grouping::Fields(keys) => {
            let names: Vec<&String> = keys.iter().filter_map(|&key| fields.get(key)).collect();
            return json!({"type": "FIELDS", "fields": names});
        }
        // All to the first task: in Storm that is a grouping by no field.
        Grouping::Global => return json!({"type": "FIELDS", "fields": []}),
        Grouping::All => "ALL",
        Grouping::Direct => "DIRECT",
        Grouping::PartialKey(_) | Grouping::Custom(..) => "CUSTOM_SERIALIZED",
    };
    json!({"type": kind})
}

impl Multilang {
    pub(super) fn new(context: &Context, config: &Json, serializer: Serializer, pid_directory: &str) -> Self {
        let inputs = context.inputs.iter();
        Self {
            serializer,
            hello: hello(context, config, pid_directory),
            inputs: inputs
                .map(|input| {
                    (
                        input.stream,
                        input.component.clone(),
                        input.name.clone(),
                        input.fields.len(),
                    )
                })
                .collect(),
            outputs: context.outputs.iter().map(|output| output.name.clone()).collect(),
            tick_seconds: 1,
            heartbeats: 0,
            ticks: 0,
            has_pid: false,
        }
    }

    fn framing(&self) -> Framing {
        framing(self.serializer)
    }

    fn write_batch<W: Write>(&self, mut out: Vec<u8>, frame: &Frame, first: u64) -> Vec<u8> {
        let Some((_, component, stream, fields)) = self.inputs.iter().find(|input| input.0 == frame.stream)
        else {
            return out;
        };
        for row in 0..frame.rows() {
            if row > 0 {
                self.framing().close(&mut out);
            }
            let mut writer = W::new(out);
            writer.begin_map(5);
            writer.key("id");
            writer.text(&(first + row as u64).to_string());
            writer.key("comp");
            writer.text(component);
            writer.key("stream");
            writer.text(stream);
            writer.key("task");
            writer.int(i64::from(frame.source));
            writer.key("tuple");
            writer.row(frame.row(row), *fields);
            writer.end_map();
            out = writer.done();
        }
        out
    }

    /// A tuple of the system's own.
    fn system<W: Write>(out: Vec<u8>, id: &str, stream: &str, value: Option<i64>) -> Vec<u8> {
        let mut writer = W::new(out);
        writer.begin_map(5);
        writer.key("id");
        writer.text(id);
        writer.key("comp");
        writer.text("__system");
        writer.key("stream");
        writer.text(stream);
        writer.key("task");
        writer.int(-1);
        writer.key("tuple");
        writer.begin(usize::from(value.is_some()));
        if let Some(value) = value {
            writer.int(value);
        }
        writer.end();
        writer.end_map();
        writer.done()
    }

    fn emit(&self, message: &BTreeMap<String, Value>, ear: &mut impl Ear) -> Result<(), Wrong> {
        let Some(Value::List(values)) = message.get("tuple") else {
            return Err(Wrong::Rule("it emitted without a `tuple`".to_owned()));
        };
        let stream = match message.get("stream") {
            Some(Value::Text(stream)) => stream.as_str(),
            _ => "default",
        };
        let output = output(&self.outputs, stream)?;
        let anchors: Vec<u64> = match message.get("anchors") {
            Some(Value::List(anchors)) => anchors.iter().filter_map(tuple_id).collect(),
            _ => Vec::new(),
        };
        let task = task(message)?;
        let emitted = Emitted {
            output,
            anchors: &anchors,
            task,
        };
        let row = |row: &mut RowWriter<'_>| {
            values.iter().for_each(|value| {
                row.value(value);
            });
            Ok(())
        };
        let wants_tasks = task.is_none() && !matches!(message.get("need_task_ids"), Some(Value::Bool(false)));
        if !wants_tasks {
            return ear.emit(emitted, row);
        }
        let mut told = Vec::new();
        ear.emit_and_tell(emitted, row, &mut told)?;
        ear.reply(match self.serializer {
            Serializer::Json => task_list::<JsonWriter>(&told),
            Serializer::MessagePack => task_list::<PackWriter>(&told),
        });
        Ok(())
    }
}

/// How messages are told apart.
pub(super) fn framing(serializer: Serializer) -> Framing {
    match serializer {
        Serializer::Json => Framing::EndLines,
        Serializer::MessagePack => Framing::Values,
    }
}

/// Which output stream has this name.
pub(super) fn output(outputs: &[String], stream: &str) -> Result<usize, Wrong> {
    outputs.iter().position(|name| name == stream).ok_or_else(|| {
        let declared = if outputs.is_empty() {
            "none".to_owned()
        } else {
            outputs.join(", ")
        };
        Wrong::Rule(format!(
            "it emitted to the stream '{stream}', and it declares {declared}"
        ))
    })
}

/// The task that an emit names.
pub(super) fn task(message: &BTreeMap<String, Value>) -> Result<Option<u32>, Wrong> {
    match message.get("task") {
        Some(Value::Int(task)) => u32::try_from(*task)
            .map(Some)
            .map_err(|_| Wrong::Rule(format!("it emitted to task {task}, and there is none"))),
        _ => Ok(None),
    }
}

/// A message as a map.
pub(super) fn read(serializer: Serializer, message: &[u8]) -> Result<BTreeMap<String, Value>, Wrong> {
    let value = match serializer {
        Serializer::Json => JsonReader::new(message).value(),
        Serializer::MessagePack => PackReader::new(message).value(),
    };
    match value? {
        Value::Map(message) => Ok(message),
        _ => Err(Wrong::Rule("it wrote a message that is no map".to_owned())),
    }
}

/// Any JSON as a message.
pub(super) fn write(serializer: Serializer, mut out: Vec<u8>, message: &Json) -> Vec<u8> {
    match serializer {
        Serializer::Json => {
            out.extend_from_slice(message.to_string().as_bytes());
            out
        }
        Serializer::MessagePack => {
            let mut writer = PackWriter::new(out);
            append(&mut writer, message);
            writer.done()
        }
    }
}

fn append(writer: &mut PackWriter, value: &Json) {
    match value {
        Json::Null => writer.null(),
        Json::Bool(value) => writer.value(waterspout_core::value::ValueRef::Bool(*value)),
        Json::Number(number) => match number.as_i64() {
            Some(number) => writer.int(number),
            None => {
                let number = number.as_f64().unwrap_or_default();
                writer.value(waterspout_core::value::ValueRef::Float(number));
            }
        },
        Json::String(text) => writer.text(text),
        Json::Array(values) => {
            writer.begin(values.len());
            values.iter().for_each(|value| append(writer, value));
        }
        Json::Object(entries) => {
            writer.begin_map(entries.len());
            for (key, value) in entries {
                writer.key(key);
                append(writer, value);
            }
        }
    }
}

fn task_list<W: Write>(tasks: &[u32]) -> Vec<u8> {
    let mut writer = W::new(Vec::new());
    writer.begin(tasks.len());
    tasks.iter().for_each(|&task| writer.int(i64::from(task)));
    writer.end();
    writer.done()
}

/// The id of a tuple; none if it is one of the system's.
fn tuple_id(value: &Value) -> Option<u64> {
    match value {
        Value::Text(text) => text.parse().ok(),
        Value::Int(id) => u64::try_from(*id).ok(),
        _ => None,
    }
}

/// What a component says besides its tuples; `false` if it is none of that.
pub(super) fn say(message: &BTreeMap<String, Value>, ear: &mut impl super::speak::Talk) -> bool {
    let text = |key: &str| match message.get(key) {
        Some(Value::Text(text)) => text.as_str(),
        _ => "",
    };
    match text("command") {
        "log" => {
            let level = match message.get("level") {
                Some(Value::Int(0)) => "Trace",
                Some(Value::Int(1)) => "Debug",
                Some(Value::Int(3)) => "Warn",
                Some(Value::Int(4)) => "Error",
                _ => "Info",
            };
            log(level, text("msg"));
        }
        "error" => {
            let text = text("msg");
            ear.error(text.lines().last().unwrap_or_default(), text, None);
        }
        "metrics" => {
            let value = match message.get("params") {
                Some(Value::Int(value)) => *value as f64,
                Some(Value::Float(value)) => *value,
                _ => 1.0,
            };
            ear.metric(text("name"), value);
        }
        _ => return false,
    }
    true
}

impl Speak for Multilang {
    fn hello(&mut self, out: Vec<u8>) -> Vec<u8> {
        self.has_pid = false;
        self.heartbeats = 0;
        write(self.serializer, out, &self.hello)
    }

    fn batch(&mut self, out: Vec<u8>, frame: &Frame, first: u64) -> Vec<u8> {
        match self.serializer {
            Serializer::Json => self.write_batch::<JsonWriter>(out, frame, first),
            Serializer::MessagePack => self.write_batch::<PackWriter>(out, frame, first),
        }
    }

    fn is_per_tuple(&self) -> bool {
        true
    }

    fn ask(&mut self, out: Vec<u8>, what: Ask<'_>) -> Option<(Vec<u8>, bool)> {
        let (id, stream, value) = match what {
            Ask::Tick => {
                self.ticks += 1;
                (format!("tick-{}", self.ticks), "__tick", Some(self.tick_seconds))
            }
            Ask::Ping => {
                self.heartbeats += 1;
                ("heartbeat".to_owned(), "__heartbeat", None)
            }
            _ => return None,
        };
        let message = match self.serializer {
            Serializer::Json => Self::system::<JsonWriter>(out, &id, stream, value),
            Serializer::MessagePack => Self::system::<PackWriter>(out, &id, stream, value),
        };
        Some((message, what == Ask::Ping))
    }

    fn hear(&mut self, message: &[u8], ear: &mut impl Ear) -> Result<(), Wrong> {
        let message = read(self.serializer, message)?;
        if !self.has_pid && message.contains_key("pid") {
            self.has_pid = true;
            ear.ready();
            return Ok(());
        }
        if say(&message, ear) {
            return Ok(());
        }
        let command = match message.get("command") {
            Some(Value::Text(command)) => command.as_str(),
            _ => return Err(Wrong::Rule("it wrote a message without a `command`".to_owned())),
        };
        match command {
            "emit" => self.emit(&message, ear),
            "ack" | "fail" => match message.get("id") {
                None => Err(Wrong::Rule(format!("it wrote `{command}` without an `id`"))),
                Some(id) => match tuple_id(id) {
                    // A tick or a heartbeat.
                    None => Ok(()),
                    Some(id) if command == "ack" => ear.ack(id),
                    Some(id) => ear.fail(id),
                },
            },
            "sync" if self.heartbeats > 0 => {
                self.heartbeats -= 1;
                ear.answer(Answer::Alive)
            }
            "sync" => {
                ear.alive();
                Ok(())
            }
            other => Err(Wrong::Rule(format!(
                "it wrote the command `{other}`, which bolts do not have"
            ))),
        }
    }
}

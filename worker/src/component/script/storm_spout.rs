//! Storm's multilang protocol, for spouts: the worker commands, the program emits and says `sync`.
//!
//! Owns: which commands are under way, the program's message ids. Leaves to others: messages that bolts have as well
//! ([`super::multilang`]). A program is asked for several tuples ahead, so that it need not wait for the worker between
//! two of them; it does one command after the other all the same.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use waterspout_core::component::script::Serializer;
use waterspout_core::value::{Row, RowWriter, Value};

use super::super::{ComponentError, Context, EmitRoot, Polled, Spout};
use super::codec::{JsonWriter, PackWriter, Write};
use super::gave_up;
use super::host::{Event, Host};
use super::messages::{Messages, Said};
use super::multilang::{hello, output, read, say, task, write};
use super::speak::Wrong;

/// Most tuples that are asked for ahead.
const AHEAD: usize = 16;
/// Most messages that are read in one poll.
const AT_ONCE: usize = 4096;
/// How long a poll waits for the program.
const WAIT: Duration = Duration::from_millis(5);

/// A command that the program has not done yet.
struct Command {
    is_next: bool,
    since: Instant,
}

/// The spout.
pub(crate) struct StormSpout {
    component: String,
    host: Host,
    serializer: Serializer,
    hello: Json,
    outputs: Vec<String>,
    answer_timeout: Duration,
    life: u32,
    is_ready: bool,
    is_active: bool,
    commands: VecDeque<Command>,
    messages: Messages,
    acked: Vec<u64>,
    failed: Vec<u64>,
    emitted: usize,
    said: Said,
}

impl StormSpout {
    pub(super) fn new(
        context: &Context,
        config: &Json,
        serializer: Serializer,
        pid_directory: &str,
        host: Host,
        answer_timeout: Duration,
    ) -> Self {
        Self {
            component: context.component.clone(),
            host,
            serializer,
            hello: hello(context, config, pid_directory),
            outputs: context.outputs.iter().map(|output| output.name.clone()).collect(),
            answer_timeout,
            life: 0,
            is_ready: false,
            is_active: false,
            commands: VecDeque::new(),
            messages: Messages::default(),
            acked: Vec::new(),
            failed: Vec::new(),
            emitted: 0,
            said: Said::default(),
        }
    }

    fn command(&mut self, name: &str, id: Option<&[u8]>) {
        let out = self.host.open();
        let message = match (id, self.serializer) {
            (None, serializer) => write(serializer, out, &json!({"command": name})),
            (Some(id), Serializer::Json) => with_id::<JsonWriter>(out, name, id),
            (Some(id), Serializer::MessagePack) => with_id::<PackWriter>(out, name, id),
        };
        self.host.send(self.life, message);
        self.commands.push_back(Command {
            is_next: name == "next",
            since: Instant::now(),
        });
    }

    fn ask(&mut self, room: usize) {
        if !std::mem::replace(&mut self.is_active, true) {
            self.command("activate", None);
        }
        for message in std::mem::take(&mut self.acked) {
            if let Some(id) = self.messages.finish(message) {
                self.command("ack", Some(&id));
            }
        }
        for message in std::mem::take(&mut self.failed) {
            if let Some(id) = self.messages.fail(message) {
                self.command("fail", Some(&id));
            }
        }
        for _ in 0..room.min(AHEAD) {
            self.command("next", None);
        }
    }

    /// Takes what happened, as far as there is room: the program decides itself how much it emits and logs.
    fn listen(&mut self, out: &mut impl EmitRoot) -> Result<(), ComponentError> {
        for _ in 0..AT_ONCE {
            if self.emitted > 0 && out.room() == 0 {
                break;
            }
            let Some(event) = self.host.take() else { break };
            match event {
                Event::Began(life) => {
                    self.life = life;
                    let hello = write(self.serializer, self.host.open(), &self.hello);
                    self.host.send(life, hello);
                }
                Event::Died => {
                    self.is_ready = false;
                    self.is_active = false;
                    self.commands.clear();
                    self.messages.forget();
                    self.acked.clear();
                    self.failed.clear();
                }
                Event::GaveUp(why) => return Err(gave_up(&self.component, why)),
                Event::Message(message) => {
                    let heard = self.hear(&message, out);
                    if let Some(error) = self.said.error.take() {
                        self.host.said(error);
                    }
                    if let Err(wrong) = heard {
                        self.host.kill(self.life, wrong.to_string());
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn hear(&mut self, message: &[u8], out: &mut impl EmitRoot) -> Result<(), Wrong> {
        let message = read(self.serializer, message)?;
        if !self.is_ready && message.contains_key("pid") {
            self.is_ready = true;
            self.host.is_ready();
            return Ok(());
        }
        if say(&message, &mut self.said) {
            return Ok(());
        }
        let command = match message.get("command") {
            Some(Value::Text(command)) => command.as_str(),
            _ => return Err(Wrong::Rule("it wrote a message without a `command`".to_owned())),
        };
        match command {
            "sync" => {
                if self.commands.pop_front().is_none() {
                    return Err(Wrong::Rule(
                        "it wrote `sync`, and no command was under way".to_owned(),
                    ));
                }
                if let Some(next) = self.commands.front_mut() {
                    next.since = Instant::now();
                }
                self.host.has_worked();
                Ok(())
            }
            "emit" => {
                let Some(Value::List(values)) = message.get("tuple") else {
                    return Err(Wrong::Rule("it emitted without a `tuple`".to_owned()));
                };
                let stream = match message.get("stream") {
                    Some(Value::Text(stream)) => stream.as_str(),
                    _ => "default",
                };
                let output = output(&self.outputs, stream)?;
                let row = |row: &mut RowWriter<'_>| {
                    values.iter().for_each(|value| {
                        row.value(value);
                    });
                };
                let id = message.get("id").filter(|id| !matches!(id, Value::Null));
                let task = task(&message)?;
                let wants_tasks =
                    task.is_none() && !matches!(message.get("need_task_ids"), Some(Value::Bool(false)));
                let mut told = Vec::new();
                let id = id.map(|id| self.messages.of(&id.encode()));
                let emitted = match (id, task) {
                    _ if wants_tasks => out.emit_root_and_tell(output, id, row, &mut told),
                    (None, _) => out.emit_untracked(output, row),
                    (Some(id), None) => out.emit_root(output, id, row),
                    (Some(id), Some(task)) => out.emit_root_direct(output, task, id, row),
                };
                emitted.map_err(|error| Wrong::Rule(error.to_string()))?;
                self.emitted += 1;
                if wants_tasks {
                    let reply = write(self.serializer, self.host.open(), &json!(told));
                    self.host.send(self.life, reply);
                }
                Ok(())
            }
            other => Err(Wrong::Rule(format!(
                "it wrote the command `{other}`, which spouts do not have"
            ))),
        }
    }
}

fn with_id<W: Write>(out: Vec<u8>, name: &str, id: &[u8]) -> Vec<u8> {
    let mut writer = W::new(out);
    writer.begin_map(2);
    writer.key("command");
    writer.text(name);
    writer.key("id");
    match Row::new(id).get(0) {
        Some(value) => writer.value(value),
        None => writer.null(),
    }
    writer.end_map();
    writer.done()
}

impl Spout for StormSpout {
    fn poll(&mut self, out: &mut impl EmitRoot) -> Result<Polled, ComponentError> {
        self.emitted = 0;
        if self.is_ready && !self.commands.iter().any(|command| command.is_next) {
            self.ask(out.room());
        }
        self.listen(out)?;
        if self.emitted == 0 && self.host.wait(WAIT) {
            self.listen(out)?;
        }
        if let Some(command) = self.commands.front()
            && command.since.elapsed() >= self.answer_timeout
        {
            let why = format!(
                "it has not answered for {:?}; raise 'limits.answerTimeout' if it needs longer",
                self.answer_timeout
            );
            self.host.kill(self.life, why);
        }
        Ok(if self.emitted > 0 {
            Polled::More
        } else {
            Polled::Idle(Duration::from_millis(1))
        })
    }

    fn ack(&mut self, message: u64) {
        self.acked.push(message);
    }

    fn fail(&mut self, message: u64) {
        self.failed.push(message);
    }

    fn rest(&mut self) -> Result<(), ComponentError> {
        if self.is_ready {
            self.ask(0);
            self.is_active = false;
            self.command("deactivate", None);
        }
        Ok(())
    }
}

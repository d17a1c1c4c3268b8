//! The sink: one command per tuple, sent by the frame and before its tuples are acked.

use redis::{Cmd, Pipeline};
use serde_json::Value;
use waterspout_core::component::redis::RedisSinkConfig;
use waterspout_core::component::stdout::LineFormat;
use waterspout_core::value::{Row, ValueRef};

use super::super::line::append_line;
use super::super::{Bolt, ComponentError, Context, Emit, FieldIndex, InputFields, Tuple, registry};
use super::connection::Server;

/// Most commands that are sent at once.
const BATCH: usize = 1024;

/// The sink. A command whose answer was lost with the connection is sent again, so `append` and `increment` may take
/// effect twice; `add` does not mind.
pub struct RedisSink {
    server: Server,
    command: Command,
    inputs: Vec<InputFields>,
    commands: Vec<Cmd>,
}

enum Command {
    Append {
        stream: String,
        max_length: Option<u64>,
    },
    Increment {
        hash: String,
        field: FieldIndex,
        by: Option<FieldIndex>,
    },
    Add {
        set: String,
        member: FieldIndex,
    },
}

impl RedisSink {
    /// Makes the sink. The server may be away.
    ///
    /// # Errors
    /// If the settings are none, or an input lacks a field.
    pub fn new(config: &Value, context: &Context) -> Result<Self, ComponentError> {
        let config: RedisSinkConfig = registry::parse(config, context)?;
        let command = match (config.append, config.increment, config.add) {
            (Some(append), None, None) => Command::Append {
                stream: append.stream,
                max_length: append.max_length,
            },
            (None, Some(increment), None) => Command::Increment {
                hash: increment.hash,
                field: context.field(&increment.field)?,
                by: increment.by.map(|by| context.field(&by)).transpose()?,
            },
            (None, None, Some(add)) => Command::Add {
                set: add.set,
                member: context.field(&add.member)?,
            },
            _ => {
                let component = &context.component;
                let problem =
                    format!("component '{component}' needs exactly one of append, increment and add");
                return Err(ComponentError::Settings(problem));
            }
        };
        Ok(Self {
            server: Server::new(&config.address)?,
            command,
            inputs: context.inputs.clone(),
            commands: Vec::new(),
        })
    }

    fn command(&self, tuple: Tuple<'_>) -> Result<Cmd, ComponentError> {
        let value = |field: &FieldIndex| to_bytes(tuple.row.get(field.of(tuple.stream)));
        Ok(match &self.command {
            Command::Append { stream, max_length } => {
                let mut command = redis::cmd("XADD");
                command.arg(stream);
                if let Some(length) = max_length {
                    command.arg("MAXLEN").arg("~").arg(*length);
                }
                command.arg("*");
                let input = self.inputs.iter().find(|input| input.stream == tuple.stream);
                for (field, value) in input.iter().flat_map(|input| &input.fields).zip(tuple.row.iter()) {
                    command.arg(field).arg(to_bytes(Some(value)));
                }
                command
            }
            Command::Increment { hash, field, by } => {
                let by = match by {
                    None => 1,
                    Some(by) => tuple.row.int(by.of(tuple.stream)).ok_or_else(|| {
                        ComponentError::Tuple(
                            "the field that 'increment.by' names holds no integer".to_owned(),
                        )
                    })?,
                };
                let mut command = redis::cmd("HINCRBY");
                command.arg(hash).arg(value(field)).arg(by);
                command
            }
            Command::Add { set, member } => {
                let mut command = redis::cmd("SADD");
                command.arg(set).arg(value(member));
                command
            }
        })
    }
}

impl Bolt for RedisSink {
    fn execute(&mut self, tuple: Tuple<'_>, _out: &mut impl Emit) -> Result<(), ComponentError> {
        let command = self.command(tuple)?;
        self.commands.push(command);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ComponentError> {
        for batch in std::mem::take(&mut self.commands).chunks(BATCH) {
            let mut pipeline = Pipeline::with_capacity(batch.len());
            for command in batch {
                pipeline.add_command(command.clone()).ignore();
            }
            while self
                .server
                .with("write", |connection| pipeline.query::<()>(connection))?
                .is_none()
            {
                std::thread::sleep(self.server.pause());
            }
        }
        Ok(())
    }
}

/// What Redis stores of a value: texts and bytes as they are, null as nothing, lists and maps as JSON.
fn to_bytes(value: Option<ValueRef<'_>>) -> Vec<u8> {
    match value {
        None | Some(ValueRef::Null) => Vec::new(),
        Some(ValueRef::Text(text)) => text.as_bytes().to_vec(),
        Some(ValueRef::Bytes(bytes)) => bytes.to_vec(),
        Some(other) => {
            let encoded = other.to_value().encode();
            let mut line = Vec::new();
            append_line(&mut line, LineFormat::Text, &[], Row::new(&encoded));
            line.pop();
            line
        }
    }
}

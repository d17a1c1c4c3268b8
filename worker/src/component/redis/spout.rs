//! The spout: reads through a consumer group, and acknowledges an entry when its tree is done.
//!
//! A task is one consumer, with the same name in each of its lives. A new life, and a new connection, first takes what the one
//! before had not acknowledged. What consumers that do not come back left is taken over after a time.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use redis::streams::{
    StreamAutoClaimOptions, StreamAutoClaimReply, StreamId, StreamInfoGroupsReply, StreamReadOptions,
    StreamReadReply,
};
use redis::{Commands, RedisError};
use serde_json::Value;
use waterspout_core::component::redis::{RedisFrom, RedisSpoutConfig};
use waterspout_core::position::Window;

use super::super::{ComponentError, Context, EmitRoot, Polled, Spout, registry};
use super::connection::Server;

/// Most entries that are read at once.
const BATCH: usize = 256;
/// Bytes that are read at a time, as far as the entries of the time before can tell.
const READ_BYTES: usize = 1 << 20;
/// How long a read waits for entries when nothing is in flight, in milliseconds.
const BLOCK_MS: usize = 20;
/// How soon it is looked again when entries are in flight.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// The spout.
pub struct RedisSpout {
    server: Server,
    config: RedisSpoutConfig,
    fields: Vec<String>,
    consumer: String,
    /// The group exists.
    ready: bool,
    /// The id up to which the entries of the life, or the connection, before were taken; `None` once all were.
    own: Option<String>,
    window: Window<Entry>,
    /// The ids of what is in flight, so that this task does not take over its own slow entries.
    in_flight: HashSet<String>,
    again: VecDeque<u64>,
    acked: Vec<String>,
    claim_at: Instant,
    cursor: String,
    /// Bytes of the longest entry of those that were read last.
    longest: usize,
}

#[derive(Debug, Clone)]
struct Entry {
    id: String,
    values: HashMap<String, Vec<u8>>,
}

impl Entry {
    fn bytes(&self) -> usize {
        self.values.values().map(Vec::len).sum()
    }
}

impl RedisSpout {
    /// Makes the spout. The server may be away.
    ///
    /// # Errors
    /// If the settings are none.
    pub fn new(config: &Value, context: &Context) -> Result<Self, ComponentError> {
        let config: RedisSpoutConfig = registry::parse(config, context)?;
        Ok(Self {
            server: Server::new(&config.address)?,
            fields: context
                .outputs
                .first()
                .map_or_else(Vec::new, |output| output.fields.clone()),
            consumer: format!("{}-{}-{}", context.topology, context.component, context.index),
            ready: false,
            own: Some("0".to_owned()),
            window: Window::starting_at(0),
            in_flight: HashSet::new(),
            longest: READ_BYTES,
            again: VecDeque::new(),
            acked: Vec::new(),
            claim_at: Instant::now(),
            cursor: "0-0".to_owned(),
            config,
        })
    }

    /// Makes the group if it is missing.
    fn prepare(&mut self) -> Result<bool, ComponentError> {
        if self.ready {
            return Ok(true);
        }
        let from = if self.config.from == RedisFrom::Latest {
            "$"
        } else {
            "0"
        };
        let (stream, group) = (self.config.stream.clone(), self.config.group.clone());
        let made = self.server.with(
            &format!("make the consumer group '{group}' of '{stream}'"),
            |connection| match connection.xgroup_create_mkstream::<_, _, _, ()>(&stream, &group, from) {
                Err(error) if error.code() == Some("BUSYGROUP") => Ok(()),
                made => made,
            },
        )?;
        self.ready = made.is_some();
        Ok(self.ready)
    }

    /// Acknowledges what is done. What cannot be sent now is kept.
    fn acknowledge(&mut self) -> Result<(), ComponentError> {
        if self.acked.is_empty() {
            return Ok(());
        }
        let (stream, group, acked) = (&self.config.stream, &self.config.group, &self.acked);
        let sent = self.server.with("acknowledge entries", |connection| {
            connection.xack::<_, _, _, u64>(stream, group, acked)
        })?;
        if sent.is_some() {
            self.acked.clear();
        }
        Ok(())
    }

    /// Entries to emit. `None` if the server is away: what it has delivered into a connection that broke is pending for this
    /// consumer and in nobody's hands, so what is pending is read once more when it is back.
    fn read(&mut self, count: usize) -> Result<Option<Vec<Entry>>, ComponentError> {
        let entries = self.next_entries(count)?;
        if entries.is_none() {
            self.own = Some("0".to_owned());
        }
        Ok(entries)
    }

    /// First those of the life or the connection before, then those of consumers that are gone, then new ones.
    fn next_entries(&mut self, count: usize) -> Result<Option<Vec<Entry>>, ComponentError> {
        if let Some(own) = self.own.clone() {
            let Some(entries) = self.read_group(&own, count, None)? else {
                return Ok(None);
            };
            self.own = entries.last().map(|entry| entry.id.clone());
            if !entries.is_empty() {
                return Ok(Some(entries));
            }
        }
        if Instant::now() >= self.claim_at {
            let Some(entries) = self.claim(count)? else {
                return Ok(None);
            };
            if !entries.is_empty() {
                return Ok(Some(entries));
            }
        }
        let block = self.window.is_empty().then_some(BLOCK_MS);
        self.read_group(">", count, block)
    }

    fn read_group(
        &mut self,
        id: &str,
        count: usize,
        block: Option<usize>,
    ) -> Result<Option<Vec<Entry>>, ComponentError> {
        let mut options = StreamReadOptions::default()
            .group(&self.config.group, &self.consumer)
            .count(count);
        if let Some(block) = block {
            options = options.block(block);
        }
        let stream = &self.config.stream;
        let reply = self.server.with(&format!("read '{stream}'"), |connection| {
            let reply: Result<Option<StreamReadReply>, RedisError> =
                connection.xread_options(&[stream], &[id], &options);
            reply
        });
        let reply = match reply {
            Ok(reply) => reply,
            // The stream was deleted and made anew: so is the group.
            Err(ComponentError::Outside { source, .. }) if source.to_string().contains("NOGROUP") => {
                self.ready = false;
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        Ok(reply.map(|reply| {
            let keys = reply.map_or_else(Vec::new, |reply| reply.keys);
            keys.into_iter().flat_map(|key| key.ids).map(entry).collect()
        }))
    }

    /// Takes over what other consumers have not acknowledged for long.
    fn claim(&mut self, count: usize) -> Result<Option<Vec<Entry>>, ComponentError> {
        let (stream, group, consumer) = (&self.config.stream, &self.config.group, &self.consumer);
        let (cursor, idle) = (&self.cursor, self.config.claim_after_ms);
        let reply = self.server.with("take over entries", |connection| {
            connection.xautoclaim_options::<_, _, _, _, _, StreamAutoClaimReply>(
                stream,
                group,
                consumer,
                idle,
                cursor,
                StreamAutoClaimOptions::default().count(count),
            )
        })?;
        let Some(reply) = reply else { return Ok(None) };
        if reply.next_stream_id == "0-0" {
            self.claim_at = Instant::now() + Duration::from_millis(idle / 2);
        }
        self.cursor = reply.next_stream_id;
        let claimed = reply.claimed.into_iter().map(entry);
        Ok(Some(
            claimed
                .filter(|entry| !self.in_flight.contains(&entry.id))
                .collect(),
        ))
    }

    /// Whether the group has nothing more to deliver and nobody has anything pending.
    fn is_exhausted(&mut self) -> Result<bool, ComponentError> {
        let (stream, group) = (&self.config.stream, &self.config.group);
        let info = self.server.with("look at the consumer group", |connection| {
            connection.xinfo_groups::<_, StreamInfoGroupsReply>(stream)
        })?;
        let group = info.and_then(|info| info.groups.into_iter().find(|known| known.name == *group));
        Ok(group.is_some_and(|group| group.pending == 0 && group.lag == Some(0)))
    }

    fn emit(&self, message: u64, out: &mut impl EmitRoot) -> Result<(), ComponentError> {
        let Some(entry) = self.window.get(message) else {
            return Ok(());
        };
        out.emit_root(0, message, |row| {
            for field in &self.fields {
                match entry.values.get(field) {
                    None => row.null(),
                    Some(value) => match std::str::from_utf8(value) {
                        Ok(text) => row.text(text),
                        Err(_) => row.bytes(value),
                    },
                };
            }
        })
    }
}

fn entry(read: StreamId) -> Entry {
    let values = read.map.into_iter().map(|(field, value)| {
        let value = match value {
            redis::Value::BulkString(bytes) => bytes,
            redis::Value::SimpleString(text) => text.into_bytes(),
            redis::Value::Int(number) => number.to_string().into_bytes(),
            _ => Vec::new(),
        };
        (field, value)
    });
    Entry {
        id: read.id,
        values: values.collect(),
    }
}

impl Spout for RedisSpout {
    fn poll(&mut self, out: &mut impl EmitRoot) -> Result<Polled, ComponentError> {
        if !self.prepare()? {
            return Ok(Polled::Idle(self.server.pause().max(LOOK_AGAIN)));
        }
        self.acknowledge()?;
        let mut room = out.room().min(BATCH);
        while room > 0
            && out.room() > 0
            && let Some(message) = self.again.pop_front()
        {
            self.emit(message, out)?;
            room -= 1;
        }
        // Long entries are read a few at a time.
        room = room
            .min(READ_BYTES / self.longest.max(1))
            .max(usize::from(room > 0));
        if room == 0 || out.room() == 0 {
            return Ok(Polled::More);
        }
        let Some(entries) = self.read(room)? else {
            return Ok(Polled::Idle(self.server.pause().max(LOOK_AGAIN)));
        };
        if entries.is_empty() {
            if self.config.bounded
                && self.window.is_empty()
                && self.acked.is_empty()
                && self.is_exhausted()?
            {
                return Ok(Polled::Done);
            }
            return Ok(Polled::Idle(LOOK_AGAIN));
        }
        let lengths = entries.iter().map(Entry::bytes);
        self.longest = lengths.max().unwrap_or(self.longest);
        for entry in entries {
            if self.in_flight.insert(entry.id.clone()) {
                let message = self.window.push(entry);
                self.emit(message, out)?;
            }
        }
        Ok(Polled::More)
    }

    fn ack(&mut self, message: u64) {
        if let Some(entry) = self.window.finish(message) {
            self.in_flight.remove(&entry.id);
            self.acked.push(entry.id);
        }
    }

    fn fail(&mut self, message: u64) {
        if self.window.get(message).is_some() {
            self.again.push_back(message);
        }
    }

    fn settled(&mut self) -> Result<(), ComponentError> {
        if self.acked.len() >= BATCH {
            self.acknowledge()
        } else {
            Ok(())
        }
    }

    fn rest(&mut self) -> Result<(), ComponentError> {
        self.acknowledge()
    }
}

//! `redis`: as a spout, the entries of a Redis stream through a consumer group; as a bolt, a sink.
//!
//! The spout's source redelivers: an entry is acknowledged to Redis when its tree is done, and what a process that died
//! had not acknowledged is delivered again. Both block their thread, which the runtime gives them alone.

mod connection;
mod sink;
mod spout;

pub use sink::RedisSink;
pub use spout::RedisSpout;

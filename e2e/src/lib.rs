//! What the end-to-end tests share: the built program, the chart, a real cluster, a real Redis, and waiting for conditions.
//!
//! Everything that is started here is ended here, by its process id, whatever becomes of the test.

pub mod chaos;
pub mod cluster;
mod crew;
mod flow;
mod helm;
mod keys;
mod program;
mod python;
mod redis_server;
mod sample;
mod wait;
mod wire;

pub use crew::Crew;
pub use flow::{Flow, Window};
pub use helm::{chart, helm, helm_program, render};
pub use keys::{KEYS, add_keys, assert_keys_counted, key_counts, produce_keys};
pub use program::{Finished, Run, manifest, program, repository, target, waterspout};
pub use python::python_program;
pub use redis_server::RedisServer;
pub use sample::{IDLE, printed_counts, sample_counts};
pub use wait::wait_for;
pub use wire::{Mode, Wire};

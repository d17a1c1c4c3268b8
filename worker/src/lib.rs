//! The data plane of Waterspout.
//!
//! Owns: components that run (spouts, bolts, sinks), the task core, what schedules tasks, the transport between
//! workers, discovery, the parent process and the endpoints of a worker. Leaves to others: the Topology resource
//! (crate `waterspout-api`), and everything pure (crate `waterspout-core`).

mod capacity;
pub mod component;
pub mod discovery;
pub mod gate;
pub mod http;
pub mod kit;
pub mod logging;
pub mod metrics;
mod mutation;
pub mod orphans;
pub mod parent;
pub mod poison;
pub mod program;
mod rim;
pub mod runtime;
#[cfg(test)]
mod simulation;
pub mod status;
pub mod task;
pub mod traces;
pub mod transport;
pub mod volume;
pub mod watchdog;
pub mod worker;

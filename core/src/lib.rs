//! The pure domain of Waterspout.
//!
//! Owns: values and their encoding, frames, the ledger, the graph, groupings, placement, the plan, the links
//! and credits between workers, and the epoch state machine. Leaves to others: every kind of I/O, clocks,
//! threads, Kubernetes, gRPC. Time comes in as an argument; nothing here reads the environment.

pub mod component;
pub mod credit;
pub mod epoch;
pub mod finish;
pub mod frame;
pub mod graph;
pub mod hash;
pub mod ledger;
pub mod link;
pub mod placement;
pub mod plan;
pub mod position;
pub mod renumbering;
pub mod routing;
pub mod succession;
pub mod value;

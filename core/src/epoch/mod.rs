//! The epoch state machine: how workers start, change, break and go on together.
//!
//! ```text
//! coordinator        each worker that is asked                  what waits for what
//!
//! Open        ──▶    open what the plan needs; all goes on      nobody pauses before all have opened
//! Promise     ──▶    pause spouts, report; let nobody join      base = newest epoch that anyone committed
//!    │
//!    ├─ base is an older epoch:
//!    │  Drain    ──▶ catch up with the base; nothing in flight  all drained before anything is frozen
//!    │  HandOver ──▶ freeze, send, receive, install             all ready before anything is committed
//!    │  Commit   ──▶ the new epoch runs, without spouts
//!    │
//!    ├─ base is this epoch:
//!    │  Finish   ──▶ commit if ready with it, else join
//!    ▼
//! Start       ──▶    spouts go, copies are dropped, leavers go  all have committed
//! ```
//!
//! Any worker can die between any two lines. A worker that comes back runs nothing until a peer that runs lets it in
//! ([`Message::Admit`]) or a coordinator asks it. A coordinator that sees a new life of somebody begins again with
//! the next attempt; one that comes back itself begins again with its new incarnation; one that is refused stops.
//! A newer plan's coordinator takes over with its promise, wherever the older one was.
//!
//! Owns: every decision of these moves, as one pure struct per worker, [`Machine`]. Leaves to others: I/O, clocks, the
//! bytes of state, the data plane (all in the worker's runtime, told by [`Action`]s), and making plans (the operator).
//!
//! Invariants:
//! - The plan that was read is a wish; what runs is what was committed.
//! - An epoch is committed with one ballot, and nobody goes back to an older epoch.
//! - Nothing is in flight when a task is frozen, and nothing flows again before a start.
//! - At any time at most one living process runs a given index in a given epoch.
//! - A task is known by its number and by the epoch since which tasks are numbered so: of two numberings, task 3 is two tasks.

mod coordinator;
mod epochs;
mod hand_over;
mod io;
mod machine;
mod member;
mod message;
mod moves;
mod mutation;
mod numbers;
mod peers;
mod plan;
mod types;

#[cfg(test)]
mod check;

pub use io::{Action, Config, Event, ExitReason, Installation, Refusal, Saved};
pub use machine::Machine;
pub use message::{Answer, Hello, Message, Order, Report, State};
pub use numbers::{Ancestor, Handing, Numbers};
pub use plan::{Inheritance, Inherited, Member, PLAIN, PlanHead, pod_uid, whom_to_ask};
pub use types::{
    Ballot, Committed, CopyId, Epoch, Incarnation, Move, Phase, Source, TaskId, Traffic, WorkerIndex,
};

//! Bolts and topologies in one process, with time under control.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod bolts;
mod cases;
mod concurrent;
mod fields;
mod programs;
mod storm;

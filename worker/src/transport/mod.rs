//! STUB transport, replaced by the transport branch.
#![allow(missing_docs, unused)]
use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};
use serde::{Deserialize, Serialize};
use waterspout_core::{frame::Frame, ledger::LedgerEntry, placement::WorkerIndex};
use crate::gate::Gate;
#[derive(Debug, Clone)]
pub struct TlsFiles { pub cert: PathBuf, pub key: PathBuf, pub ca: PathBuf }
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerStatus {}
pub struct Transport {}
impl Transport {
    pub fn gate(&self, to: WorkerIndex, target: u32) -> Arc<Gate> { Arc::new(Gate::new(8, 8)) }
    pub fn send_frame(&self, to: WorkerIndex, target: u32, frame: Frame) {}
    pub fn send_entries(&self, to: WorkerIndex, entries: Vec<LedgerEntry>) {}
    pub fn consumed(&self, from: WorkerIndex, target: u32, bytes: usize) {}
    pub fn peers(&self) -> Vec<PeerStatus> { vec![] }
}
pub const TLS_NAME: &str = "worker.waterspout";

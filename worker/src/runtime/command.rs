//! What tasks are told from outside their data.

use std::sync::Arc;

use waterspout_core::ledger::LedgerSettings;

use crate::gate::Gate;
use crate::poison::Culprit;
use crate::task::{Tracking, Which};

/// What a task is told from outside its data.
#[derive(Clone)]
pub enum Command {
    /// Spouts may emit, or not.
    SetActive(bool),
    /// All input has ended.
    Finish(LedgerSettings),
    /// Processes died of roots of the task's.
    Died(Arc<Vec<Culprit>>),
    /// Shuffle goes round these tasks.
    Avoid(Arc<Vec<u32>>),
    /// Some of what it has given up is to be emitted again.
    Replay(Which),
    /// Another epoch begins.
    Renew {
        /// Its number.
        epoch: u64,
        /// How the task's roots are tracked in it.
        tracking: Tracking,
        /// The gates that its output goes through, those of its own cycle left out.
        downstream: Vec<Arc<Gate>>,
        /// The tasks of this worker, sorted.
        here: Arc<Vec<u32>>,
    },
}

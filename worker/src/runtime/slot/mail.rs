//! What a slot is told from outside: entries for its ledger, commands, losses. The next slice reads it.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use waterspout_core::ledger::LedgerEntry;

use super::{Command, Running, Slot};
use crate::component::ComponentError;
use crate::gate::Wake as _;
use crate::task::Which;

impl Slot {
    /// Hands in entries for the task's ledger.
    pub fn push_entries(&self, entries: &[LedgerEntry]) {
        self.entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(entries);
        self.mail();
    }

    /// Hands in a command.
    pub fn command(&self, command: Command) {
        self.commands
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(command);
        self.mail();
    }

    /// Something that this task's roots may be in was lost.
    pub fn lose(&self) {
        self.lost.store(true, Ordering::SeqCst);
        self.mail();
    }

    /// Lets the task emit some of that again.
    pub fn replay(&self, which: Which) {
        self.command(Command::Replay(which));
    }

    fn mail(&self) {
        self.has_mail.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Ends the traces of roots that are done.
    pub(super) fn settle_traces(running: &mut Running) {
        let core = running.core.as_ref();
        if let Some(traces) = running.traces.as_mut().filter(|traces| traces.has_roots()) {
            traces.settle(|(group, root)| core.is_pending(group, root));
        }
    }

    /// Reads what came since the last time.
    ///
    /// # Errors
    /// An error of the component; it ends the process.
    pub(super) fn read_mail(&self, running: &mut Running, now: u64) -> Result<(), ComponentError> {
        if !self.has_mail.swap(false, Ordering::SeqCst) {
            return Ok(());
        }
        let commands = std::mem::take(&mut *self.commands.lock().unwrap_or_else(PoisonError::into_inner));
        let core = running.core.as_mut();
        for command in commands {
            match command {
                Command::Renew {
                    epoch,
                    tracking,
                    downstream,
                    here,
                } => {
                    core.renew(tracking)?;
                    core.output().place(|task| here.binary_search(&task).is_ok());
                    running.epoch = epoch;
                    running.downstream = downstream;
                }
                Command::Replay(which) => core.replay(&which),
                Command::SetActive(active) => core.set_active(active),
                Command::Finish(ledger) => core.finish(ledger),
                Command::Died(culprits) => core.died(&culprits, now),
                Command::Avoid(away) => core.output().avoid(|task| away.binary_search(&task).is_ok()),
            }
        }
        let entries = std::mem::take(&mut *self.entries.lock().unwrap_or_else(PoisonError::into_inner));
        if !entries.is_empty() {
            if let Some(traces) = &mut running.traces {
                traces.hear(&entries);
            }
            core.settle(&entries, now)?;
        }
        if self.lost.swap(false, Ordering::SeqCst) {
            core.fail_all()?;
        }
        Ok(())
    }
}

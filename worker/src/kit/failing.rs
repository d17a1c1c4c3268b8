//! Tuples that fail on purpose.

use waterspout_core::frame::Frame;
use waterspout_core::ledger::{Change, LedgerEntry};

/// What the ledgers hear if the first rows of a frame fail.
pub(super) fn entries(frame: &Frame, rows: usize) -> Vec<LedgerEntry> {
    let mut entries = Vec::new();
    for row in 0..rows {
        frame.roots(row).each(|group, root| {
            let mut roots = [0; 4];
            roots[usize::from(root >> 6)] = 1 << (root & 63);
            entries.push(LedgerEntry {
                group,
                roots,
                change: Change::Fail,
            });
        });
    }
    entries
}

/// A frame without its first rows, if it has more. Its id stays, and with it what is acked when it is worked on.
pub(super) fn rest(mut frame: Frame, rows: usize) -> Option<Frame> {
    if rows >= frame.rows() {
        return None;
    }
    if rows > 0 {
        let start = frame.ends[rows - 1];
        frame.data.drain(..start as usize);
        frame.ends.drain(..rows);
        frame.ends.iter_mut().for_each(|end| *end -= start);
        frame.lineage.drain(..rows.min(frame.lineage.len()));
    }
    Some(frame)
}

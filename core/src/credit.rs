//! Credit: how much a worker has in flight to one task of another worker.
//!
//! Owns: both ends as plain structs, for one connection. Leaves to others: the bound, and who waits. Reports are totals
//! since the connection began, so a report that is lost, late or repeated does no harm.

use thiserror::Error;

/// A report that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "a peer reports {reported_frames} frames of {reported_bytes} bytes as worked off, but was sent {sent_frames} of {sent_bytes}"
)]
pub struct CreditFault {
    reported_frames: u64,
    reported_bytes: u64,
    sent_frames: u64,
    sent_bytes: u64,
}

/// The sending end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CreditSender {
    sent_frames: u64,
    sent_bytes: u64,
    consumed_frames: u64,
    consumed_bytes: u64,
}

impl CreditSender {
    /// Counts a frame of `bytes` bytes that was sent.
    pub fn sent(&mut self, bytes: u64) {
        self.sent_frames += 1;
        self.sent_bytes += bytes;
    }

    /// Takes a report over. How many frames and bytes are no longer in flight since the one before.
    ///
    /// # Errors
    /// If more is reported than was sent.
    pub fn consumed(&mut self, frames: u64, bytes: u64) -> Result<(u64, u64), CreditFault> {
        if frames > self.sent_frames || bytes > self.sent_bytes {
            return Err(CreditFault {
                reported_frames: frames,
                reported_bytes: bytes,
                sent_frames: self.sent_frames,
                sent_bytes: self.sent_bytes,
            });
        }
        if frames < self.consumed_frames || bytes < self.consumed_bytes {
            return Ok((0, 0));
        }
        let freed = (frames - self.consumed_frames, bytes - self.consumed_bytes);
        (self.consumed_frames, self.consumed_bytes) = (frames, bytes);
        Ok(freed)
    }

    /// Frames and bytes in flight.
    pub fn in_flight(&self) -> (u64, u64) {
        (
            self.sent_frames - self.consumed_frames,
            self.sent_bytes - self.consumed_bytes,
        )
    }

    /// The connection is lost: what was in flight is written off. Frames and bytes.
    pub fn reset(&mut self) -> (u64, u64) {
        let lost = self.in_flight();
        *self = Self::default();
        lost
    }
}

/// The receiving end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CreditReceiver {
    frames: u64,
    bytes: u64,
    reported_frames: u64,
    reported_bytes: u64,
}

impl CreditReceiver {
    /// Counts a frame of `bytes` bytes that was worked off.
    pub fn consumed(&mut self, bytes: u64) {
        self.frames += 1;
        self.bytes += bytes;
    }

    /// Whether so many frames or bytes came since the last report that another one is worth a message.
    pub fn is_due(&self, frames: u64, bytes: u64) -> bool {
        self.frames - self.reported_frames >= frames.max(1)
            || self.bytes - self.reported_bytes >= bytes.max(1)
    }

    /// The totals, if there is anything to report.
    pub fn report(&mut self) -> Option<(u64, u64)> {
        if self.frames == self.reported_frames {
            return None;
        }
        (self.reported_frames, self.reported_bytes) = (self.frames, self.bytes);
        Some((self.frames, self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Frames are sent, worked off in order and reported; reports are lost or repeated; connections break.
        #[test]
        fn in_flight_is_what_was_sent_and_not_reported(steps in prop::collection::vec((0u8..6, 1u64..1000), 0..200)) {
            let mut sender = CreditSender::default();
            let mut receiver = CreditReceiver::default();
            let (mut queue, mut unreported) = (std::collections::VecDeque::new(), (0u64, 0u64));
            let mut last_report = (0, 0);
            let mut gate = (0u64, 0u64);
            for (step, bytes) in steps {
                match step {
                    0 | 1 => {
                        sender.sent(bytes);
                        queue.push_back(bytes);
                        gate = (gate.0 + 1, gate.1 + bytes);
                    }
                    2 => if let Some(bytes) = queue.pop_front() {
                        receiver.consumed(bytes);
                        unreported = (unreported.0 + 1, unreported.1 + bytes);
                        prop_assert!(receiver.is_due(1, u64::MAX));
                    },
                    3 => if let Some(report) = receiver.report() {
                        last_report = report;
                        let freed = sender.consumed(report.0, report.1).expect("it was sent");
                        gate = (gate.0 - freed.0, gate.1 - freed.1);
                        unreported = (0, 0);
                    },
                    4 => prop_assert_eq!(sender.consumed(last_report.0, last_report.1), Ok((0, 0))),
                    _ => {
                        let lost = sender.reset();
                        prop_assert_eq!(lost, gate);
                        gate = (0, 0);
                        receiver = CreditReceiver::default();
                        queue.clear();
                        unreported = (0, 0);
                        last_report = (0, 0);
                    }
                }
                prop_assert_eq!(sender.in_flight(), gate);
                let waiting: u64 = queue.iter().sum();
                prop_assert_eq!(gate, (queue.len() as u64 + unreported.0, waiting + unreported.1));
                let (frames, bytes) = (sender.sent_frames, sender.sent_bytes);
                prop_assert!(sender.clone().consumed(frames + 1, bytes).is_err());
            }
        }
    }
}

//! How busy tasks are: which share of the last seconds each of them worked.
//!
//! Owns: the window. Leaves to others: how long tasks have worked ([`crate::runtime`]). Time comes in as an argument.

use std::collections::{BTreeMap, VecDeque};

/// How far back it looks, in microseconds.
const WINDOW: u64 = 10_000_000;
/// The time between two looks that are kept, in microseconds.
const STEP: u64 = 1_000_000;

/// Earlier looks at how long each task had worked, in microseconds.
#[derive(Debug, Default)]
pub(crate) struct Capacity {
    looks: VecDeque<(u64, BTreeMap<u32, u64>)>,
}

impl Capacity {
    /// The share of the window, 0 to 1, that each task worked, given how long each has worked by `now`.
    pub(crate) fn look(&mut self, now: u64, busy: BTreeMap<u32, u64>) -> BTreeMap<u32, f64> {
        while self.looks.get(1).is_some_and(|(at, _)| at + WINDOW <= now) {
            self.looks.pop_front();
        }
        let shares = match self.looks.front() {
            Some((at, before)) if *at < now => {
                let span = (now - at) as f64;
                let share = |(task, micros): (&u32, &u64)| {
                    // One that came here since has worked for nothing yet then.
                    let since = micros.saturating_sub(before.get(task).copied().unwrap_or(0));
                    (*task, (since as f64 / span).min(1.0))
                };
                busy.iter().map(share).collect()
            }
            _ => busy.keys().map(|task| (*task, 0.0)).collect(),
        };
        if self.looks.back().is_none_or(|(at, _)| at + STEP <= now) {
            self.looks.push_back((now, busy));
        }
        shares
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_of_the_last_ten_seconds() {
        let mut capacity = Capacity::default();
        let second = 1_000_000;
        let mut at =
            |seconds: u64, busy: u64| capacity.look(seconds * second, BTreeMap::from([(3, busy)]))[&3];
        assert!(at(0, 0).abs() < 1e-9);
        // Half of the time for 20 seconds, then nothing.
        for seconds in 1..=20 {
            assert!(
                (at(seconds, seconds * second / 2) - 0.5).abs() < 1e-9,
                "{seconds}"
            );
        }
        assert!((at(25, 10 * second) - 0.25).abs() < 1e-9);
        assert!(at(31, 10 * second).abs() < 1e-9);
        // A call that took longer than the window is told when it is over.
        assert!((at(32, 50 * second) - 1.0).abs() < 1e-9);
    }
}

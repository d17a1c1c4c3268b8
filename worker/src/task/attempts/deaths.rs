//! Roots that processes died of: their attempts outlive the process, and their successors try them apart from others.
//!
//! A root that was in flight at a process that died is emitted again at once, as all are that were lost with it. What
//! the process died of is known a little later, from its successor; from then on that root waits after each loss, so that
//! it is known what became of it before it is tried again. Where a root has one attempt only, all wait after a loss.

use super::{Attempts, Reason, SUSPICION, Tried, Verdict, pause};
use crate::poison::{Cause, Tally};

/// What becomes of a root that is emitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::task) enum Emission {
    /// It goes out, as what it is or as a dead letter.
    Goes,
    /// Not now: it comes again.
    Stays,
}

impl Attempts {
    /// What processes before this one died of.
    pub(in crate::task) fn know(&mut self, tallies: &[Tally]) {
        self.known.extend(tallies.iter().map(|tally| (tally.key, *tally)));
    }

    /// A process died of a root at `now`. It is lost or will be.
    pub(in crate::task) fn killed(&mut self, message: u64, cause: Cause, is_sure: bool, now: u64) -> Verdict {
        let (most, has_letters) = (self.most, self.letters.is_some());
        let tried = self.entry(message, Reason::Died(cause));
        let before = tried.times;
        let mut tally = tally(0, tried);
        tally.count(cause, is_sure);
        (tried.times, tried.suspected) = (tally.times, tally.suspected);
        tried.reason = Reason::Died(cause);
        let tried = *tried;
        self.is_changed = true;
        if tried.times < most {
            if tried.due.is_some() {
                self.wait(message, now + pause(tried.times));
            }
            return Verdict::Again;
        }
        if before < most {
            self.dead += 1;
        }
        if tried.due.is_some() {
            self.wait(message, now);
        }
        if has_letters {
            Verdict::Letter
        } else {
            Verdict::Dead
        }
    }

    /// A root is lost at `now`. Whether it is to be emitted again at once.
    pub(in crate::task) fn lost(&mut self, message: u64, now: u64) -> bool {
        let Some(&tried) = self.tried.get(&message).filter(|tried| tried.has_killed()) else {
            if self.most > 1 {
                return true;
            }
            // If a process died of it, that was its only attempt: none may begin before that can be known.
            self.entry(message, Reason::Failed);
            self.wait(message, now + SUSPICION);
            return false;
        };
        if tried.times >= self.most {
            self.wait(message, now);
        } else {
            self.wait(message, now + SUSPICION.max(pause(tried.times)));
        }
        false
    }

    /// A root with this key is emitted, at `now`: if a process before this one died of it, that counts.
    pub(in crate::task) fn emitted(&mut self, message: u64, key: u64, now: u64) -> Emission {
        if let Some(tried) = self.tried.get(&message) {
            if tried.has_killed() && self.keys.insert(message, key).is_none() {
                self.is_changed = true;
            }
            return Emission::Goes;
        }
        let Some(known) = self.known.remove(&key) else {
            return Emission::Goes;
        };
        let tried = self.entry(message, Reason::Died(known.cause));
        (tried.times, tried.suspected) = (known.times, known.suspected);
        self.keys.insert(message, key);
        self.is_changed = true;
        if known.times < self.most {
            self.wait(message, now + pause(known.times));
            return Emission::Stays;
        }
        self.dead += 1;
        Emission::Goes
    }

    /// It stays failed, and is known to the next process.
    pub(super) fn give_up(&mut self, message: u64) {
        if let (Some(tried), Some(&key)) = (self.tried.get(&message), self.keys.get(&message)) {
            self.gone.push(tally(key, tried));
        }
        self.forget(message);
    }

    /// What the next process must know, if that has changed since the last call.
    pub(in crate::task) fn changed(&mut self) -> Option<Vec<Tally>> {
        if !std::mem::take(&mut self.is_changed) {
            return None;
        }
        let here = self.keys.iter().filter_map(|(message, &key)| {
            let tried = self.tried.get(message)?;
            Some(tally(key, tried))
        });
        Some(
            here.chain(self.known.values().copied())
                .chain(self.gone.iter().copied())
                .collect(),
        )
    }
}

fn tally(key: u64, tried: &Tried) -> Tally {
    let cause = match tried.reason {
        Reason::Died(cause) => cause,
        Reason::Failed | Reason::TimedOut => Cause::Error,
    };
    Tally {
        key,
        times: tried.times,
        suspected: tried.suspected,
        cause,
    }
}

#[cfg(test)]
mod tests {
    use waterspout_core::value::Value;

    use super::super::Letters;
    use super::*;

    fn attempts(most: u32) -> Attempts {
        let stream = ("default".to_owned(), vec!["word".to_owned()]);
        Attempts::new(most, None, Letters::new(vec![stream]))
    }

    #[test]
    fn a_root_that_has_one_attempt_waits_until_it_can_be_known_whether_a_process_died_of_it() {
        let mut attempts = attempts(1);
        assert!(!attempts.lost(7, 0) && !attempts.lost(8, 0));
        assert_eq!(attempts.due(SUSPICION - 1), None);
        // It is told of one of them, which is given up: its row is asked for at once, to be kept.
        let now = SUSPICION / 2;
        let verdict = attempts.killed(7, Cause::Panicked, true, now);
        assert_eq!((verdict, attempts.dead), (Verdict::Dead, 1));
        assert_eq!((attempts.due(now), attempts.due(now)), (Some(7), None));
        assert!(attempts.keep(7, 0, &Value::from("poison").encode()));
        // The other one is tried once more as if nothing had been.
        assert_eq!(
            (attempts.due(SUSPICION), attempts.due(SUSPICION)),
            (Some(8), None)
        );
        assert_eq!(attempts.emitted(8, 0, SUSPICION), Emission::Goes);
        attempts.acked(8);
        assert!(attempts.is_empty());
    }

    #[test]
    fn a_root_that_has_more_attempts_is_emitted_again_at_once() {
        assert!(attempts(2).lost(7, 0));
    }
}

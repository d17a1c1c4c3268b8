//! Roots that failed: how often each was tried, when it is tried again, and what becomes of it at last.
//!
//! Owns: the counts, the pauses between attempts, the rows of dead letters. Leaves to others: the ledger, calling the
//! spout ([`super::spout`]), which root a process died of ([`crate::poison`]), keeping what nobody reads
//! ([`super::letters`]). Invariants: what was lost with a worker or an epoch counts as no attempt; nothing is given up
//! silently. Nothing here costs anything while no root fails.

mod deaths;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rustc_hash::FxHashMap;
use waterspout_core::value::{Row, RowWriter, Value, ValueRef};

use super::letters::{Letter, Letters, Which};
use crate::poison::{Cause, Tally};
pub(super) use deaths::Emission;

/// The pause before the second attempt, in microseconds; it doubles with each further one.
const FIRST_PAUSE: u64 = 50_000;
/// The longest pause between two attempts, in microseconds.
const LONGEST_PAUSE: u64 = 5_000_000;
/// How long a root that a process died of is held back when a process is lost, until it is known what that one died of.
const SUSPICION: u64 = 1_000_000;

/// Why a root failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// A task failed it.
    Failed,
    /// It took too long.
    TimedOut,
    /// A process died of it.
    Died(Cause),
}

impl Reason {
    fn text(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::TimedOut => "timed out",
            Self::Died(cause) => cause.text(),
        }
    }
}

/// What comes of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is emitted again, after a pause.
    Again,
    /// It is given up: from now on it is a dead letter, which a bolt reads.
    Letter,
    /// It is given up, and nobody reads dead letters: it is kept when the spout emits it once more.
    Dead,
}

#[derive(Debug, Clone, Copy)]
struct Tried {
    times: u32,
    reason: Reason,
    /// When it is emitted again; `None` while it is in flight.
    due: Option<u64>,
    /// Deaths that it may be to blame for; see [`Tally`].
    suspected: u32,
}

impl Tried {
    fn has_killed(&self) -> bool {
        self.suspected > 0 || matches!(self.reason, Reason::Died(_))
    }
}

/// The dead-letter stream of a spout, and what is needed to write to it.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    /// Which of the output streams it is.
    pub stream: usize,
    /// The name and the fields of each of the others.
    pub others: Vec<(String, Vec<String>)>,
}

/// The failed roots of one spout task, by its message ids.
#[derive(Debug)]
pub(super) struct Attempts {
    most: u32,
    letters: Option<DeadLetters>,
    kept: Letters,
    tried: FxHashMap<u64, Tried>,
    /// When which one is emitted again.
    waiting: BinaryHeap<Reverse<(u64, u64)>>,
    /// Roots that former processes died of and that were not emitted here yet, by their keys.
    known: FxHashMap<u64, Tally>,
    /// The keys of those in `tried` that a process died of.
    keys: FxHashMap<u64, u64>,
    /// Roots that processes died of and that were given up, unread.
    gone: Vec<Tally>,
    /// What is to outlive this process has changed.
    is_changed: bool,
    /// Roots that were given up.
    pub(super) dead: u64,
}

impl Attempts {
    pub(super) fn new(most: u32, letters: Option<DeadLetters>, kept: Letters) -> Self {
        Self {
            most,
            letters,
            kept,
            tried: FxHashMap::default(),
            waiting: BinaryHeap::new(),
            known: FxHashMap::default(),
            keys: FxHashMap::default(),
            gone: Vec::new(),
            is_changed: false,
            dead: 0,
        }
    }

    /// From now on so many attempts are the most.
    pub(super) fn set_most(&mut self, most: u32) {
        self.most = most;
    }

    /// Whether no root that is not done has failed.
    pub(super) fn is_empty(&self) -> bool {
        self.tried.is_empty() && self.known.is_empty()
    }

    /// How many wait to be emitted again.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// A root failed at `now`, in microseconds.
    pub(super) fn failed(&mut self, message: u64, reason: Reason, now: u64) -> Verdict {
        let tried = self.entry(message, reason);
        tried.times += 1;
        tried.reason = reason;
        let tried = *tried;
        let pause = pause(tried.times);
        let verdict = if tried.times < self.most {
            Verdict::Again
        } else if self.letters.is_some() {
            Verdict::Letter
        } else {
            Verdict::Dead
        };
        if tried.times == self.most {
            self.dead += 1;
        }
        match verdict {
            Verdict::Again => self.wait(message, now + pause),
            // The first time nothing is to be waited for; a letter that fails itself waits as any root does.
            Verdict::Letter if tried.times > self.most => self.wait(message, now + pause),
            Verdict::Letter | Verdict::Dead => self.wait(message, now),
        }
        verdict
    }

    fn entry(&mut self, message: u64, reason: Reason) -> &mut Tried {
        self.tried.entry(message).or_insert(Tried {
            times: 0,
            reason,
            due: None,
            suspected: 0,
        })
    }

    fn wait(&mut self, message: u64, at: u64) {
        if let Some(tried) = self.tried.get_mut(&message) {
            tried.due = Some(at);
            self.waiting.push(Reverse((at, message)));
        }
    }

    fn forget(&mut self, message: u64) {
        self.tried.remove(&message);
        self.is_changed |= self.keys.remove(&message).is_some();
    }

    /// A root is done.
    #[inline]
    pub(super) fn acked(&mut self, message: u64) {
        if !self.tried.is_empty() {
            self.forget(message);
        }
    }

    /// The next root whose pause is over.
    pub(super) fn due(&mut self, now: u64) -> Option<u64> {
        while let Some(&Reverse((at, message))) = self.waiting.peek()
            && at <= now
        {
            self.waiting.pop();
            // Its time may have been changed since, or it is done.
            if let Some(tried) = self.tried.get_mut(&message).filter(|tried| tried.due == Some(at)) {
                tried.due = None;
                return Some(message);
            }
        }
        None
    }

    /// When a pause is over, in microseconds.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.waiting.peek().map(|Reverse((at, _))| *at)
    }

    /// If a root was given up: the stream of dead letters, and the row for it, made of the row that the spout emits to
    /// `stream` once more.
    pub(super) fn letter(&self, message: u64, stream: usize, row: &[u8]) -> Option<(usize, Vec<u8>)> {
        let tried = self
            .tried
            .get(&message)
            .filter(|tried| tried.times >= self.most)?;
        let letters = self.letters.as_ref()?;
        let (name, fields) = letters.others.get(stream)?;
        let values = Row::new(row).iter().map(ValueRef::to_value);
        let tuple = Value::Map(fields.iter().cloned().zip(values).collect());
        let mut letter = Vec::new();
        RowWriter::new(&mut letter)
            .text(name)
            .value(&tuple)
            .text(tried.reason.text())
            .int(i64::from(tried.times.min(self.most)));
        Some((letters.stream, letter))
    }

    /// Keeps a root that was given up and that nobody reads, as the spout emits it once more. Whether it was: then it is not
    /// sent.
    pub(super) fn keep(&mut self, message: u64, stream: usize, row: &[u8]) -> bool {
        let tried = self.tried.get(&message).copied();
        let Some(tried) = tried.filter(|tried| self.letters.is_none() && tried.times >= self.most) else {
            return false;
        };
        let has_died = matches!(tried.reason, Reason::Died(_));
        let letter = Letter {
            message,
            key: self.keys.get(&message).copied().filter(|_| has_died),
            stream,
            reason: tried.reason.text(),
            attempts: tried.times,
        };
        self.kept.keep(letter, row);
        if has_died {
            self.give_up(message);
        } else {
            self.forget(message);
        }
        true
    }

    /// What was given up and is kept.
    pub(super) fn kept(&self) -> &Letters {
        &self.kept
    }

    /// Lets what was given up be emitted again, with its attempts counted from nothing.
    pub(super) fn replay(&mut self, which: &Which) {
        for (message, key) in self.kept.take(which) {
            if let Some(key) = key {
                self.gone.retain(|gone| gone.key != key);
                self.is_changed = true;
            }
            self.entry(message, Reason::Failed);
            self.wait(message, 0);
        }
    }
}

/// The pause after so many attempts, in microseconds.
fn pause(times: u32) -> u64 {
    FIRST_PAUSE
        .saturating_mul(1 << times.saturating_sub(1).min(20))
        .min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letters() -> DeadLetters {
        DeadLetters {
            stream: 1,
            others: vec![("default".to_owned(), vec!["word".to_owned()])],
        }
    }

    fn kept() -> Letters {
        Letters::new(vec![("default".to_owned(), vec!["word".to_owned()])])
    }

    #[test]
    fn pauses_double_and_the_last_attempt_makes_a_letter() {
        let mut attempts = Attempts::new(3, Some(letters()), kept());
        assert_eq!(attempts.failed(7, Reason::Failed, 0), Verdict::Again);
        assert_eq!((attempts.due(49_999), attempts.due(50_000)), (None, Some(7)));
        assert_eq!(attempts.failed(7, Reason::TimedOut, 100_000), Verdict::Again);
        assert_eq!(attempts.next_due(), Some(200_000));
        assert_eq!(attempts.due(200_000), Some(7));
        let row = Value::from("poison").encode();
        assert_eq!(attempts.letter(7, 0, &row), None);
        assert_eq!(attempts.failed(7, Reason::TimedOut, 300_000), Verdict::Letter);
        assert_eq!((attempts.due(300_000), attempts.dead), (Some(7), 1));
        let (stream, letter) = attempts.letter(7, 0, &row).expect("it was given up");
        let values: Vec<_> = Row::new(&letter).iter().map(ValueRef::to_value).collect();
        let tuple = Value::Map([("word".to_owned(), Value::from("poison"))].into());
        assert_eq!(stream, 1);
        assert_eq!(
            values,
            [
                Value::from("default"),
                tuple,
                Value::from("timed out"),
                Value::Int(3)
            ]
        );
        assert_eq!(attempts.letter(8, 0, &row), None);
        attempts.acked(7);
        assert_eq!(attempts.letter(7, 0, &row), None);
    }

    #[test]
    fn without_a_reader_a_root_that_is_given_up_is_kept_until_it_is_replayed() {
        let mut attempts = Attempts::new(1, None, kept());
        assert_eq!(attempts.failed(7, Reason::Failed, 0), Verdict::Dead);
        assert_eq!((attempts.dead, attempts.due(0)), (1, Some(7)));
        let row = Value::from("poison").encode();
        assert!(attempts.keep(7, 0, &row) && !attempts.keep(8, 0, &row));
        assert!(attempts.is_empty() && attempts.next_due().is_none());
        assert_eq!(attempts.kept().len(), 1);
        attempts.replay(&Which::These(vec![0]));
        assert_eq!((attempts.kept().len(), attempts.due(0)), (0, Some(7)));
        assert!(!attempts.keep(7, 0, &row), "it is tried again");
        assert_eq!(attempts.failed(7, Reason::TimedOut, 5), Verdict::Dead);
        assert!(attempts.due(5).is_some() && attempts.keep(7, 0, &row));
        let listed = attempts.kept().listed("in", 0);
        assert_eq!((listed[0].reason.as_str(), listed[0].attempts), ("timed out", 1));
    }

    #[test]
    fn a_letter_that_fails_itself_is_emitted_again_and_counted_once() {
        let mut attempts = Attempts::new(1, Some(letters()), kept());
        for _ in 0..40 {
            assert_eq!(attempts.failed(7, Reason::Failed, 0), Verdict::Letter);
        }
        assert_eq!(attempts.dead, 1);
        assert!(
            attempts
                .waiting
                .iter()
                .all(|Reverse((at, _))| *at <= LONGEST_PAUSE)
        );
    }
}

//! Links: numbered messages from one worker to another that survive a break of the connection.
//!
//! Owns: both ends as plain structs. Leaves to others: connections. Invariant: between one life of the sender and one
//! life of the receiver the receiver accepts the messages 1, 2, 3, ... in order, each once, whatever is lost, repeated
//! or sent again. When the receiver has a new life, what it had not confirmed is dropped and the numbers start again.

use std::collections::VecDeque;

/// The sending end.
#[derive(Debug, Clone)]
pub struct LinkSender<T> {
    /// The number of the first message in `unacked`.
    first: u64,
    unacked: VecDeque<T>,
    /// How many of `unacked` were handed out on this connection.
    sent: usize,
}

impl<T> Default for LinkSender<T> {
    fn default() -> Self {
        Self {
            first: 1,
            unacked: VecDeque::new(),
            sent: 0,
        }
    }
}

impl<T> LinkSender<T> {
    /// Adds a message and returns its number.
    pub fn push(&mut self, message: T) -> u64 {
        self.unacked.push_back(message);
        self.first + self.unacked.len() as u64 - 1
    }

    /// The next message to send on this connection, with its number.
    pub fn next_to_send(&mut self) -> Option<(u64, &T)> {
        let message = self.unacked.get(self.sent)?;
        self.sent += 1;
        Some((self.first + self.sent as u64 - 1, message))
    }

    /// The receiver has all messages up to this number.
    pub fn acked(&mut self, up_to: u64) {
        while self.first <= up_to && self.unacked.pop_front().is_some() {
            self.first += 1;
            self.sent = self.sent.saturating_sub(1);
        }
    }

    /// There is a new connection to the same life of the receiver, which has all messages up to `last_received`.
    pub fn reconnected_same(&mut self, last_received: u64) {
        self.acked(last_received);
        self.sent = 0;
    }

    /// There is a connection to a new life of the receiver: what was for the old one is dropped.
    pub fn reconnected_new(&mut self) -> usize {
        let dropped = self.unacked.len();
        *self = Self::default();
        dropped
    }

    /// How many messages the receiver has not confirmed.
    pub fn unacked(&self) -> usize {
        self.unacked.len()
    }
}

/// What to do with a message that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the next one: take it.
    Accept,
    /// It was taken before.
    Duplicate,
    /// Another one must come first: break the connection, so that it is sent again.
    Gap {
        /// The number that is missing.
        expected: u64,
    },
    /// It is from an earlier life of the sender.
    Stale,
}

/// The receiving end, for one sender in all its lives. `I` is the order of its lives.
#[derive(Debug, Clone)]
pub struct LinkReceiver<I> {
    sender: Option<I>,
    last: u64,
}

impl<I> Default for LinkReceiver<I> {
    fn default() -> Self {
        Self {
            sender: None,
            last: 0,
        }
    }
}

impl<I: Ord + Copy> LinkReceiver<I> {
    /// The number of the last message that was taken from this life of the sender; `None` if a later one was seen.
    pub fn resume(&mut self, sender: I) -> Option<u64> {
        if self.sender.is_some_and(|known| known > sender) {
            return None;
        }
        if self.sender != Some(sender) {
            *self = Self {
                sender: Some(sender),
                last: 0,
            };
        }
        Some(self.last)
    }

    /// Judges a message, and counts it if it is the next one.
    pub fn receive(&mut self, number: u64, sender: I) -> Verdict {
        let Some(last) = self.resume(sender) else {
            return Verdict::Stale;
        };
        if number <= last {
            return Verdict::Duplicate;
        }
        if number > last + 1 {
            return Verdict::Gap { expected: last + 1 };
        }
        self.last = number;
        Verdict::Accept
    }

    /// The number of the last message that was taken.
    pub fn last_received(&self) -> u64 {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Push,
        /// Sends one message, which arrives.
        Deliver,
        /// Sends one message, which is lost with the connection.
        Lose,
        Confirm,
        Reconnect,
        RestartSender,
        RestartReceiver,
        /// A message of a connection before arrives late.
        Late(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => Just(Step::Push),
            6 => Just(Step::Deliver),
            1 => Just(Step::Lose),
            2 => Just(Step::Confirm),
            1 => Just(Step::Reconnect),
            1 => Just(Step::RestartSender),
            1 => Just(Step::RestartReceiver),
            1 => (1u64..6).prop_map(Step::Late),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        /// The model: what a pair of lives accepted must be 1, 2, 3, ... of what was pushed since the pair met.
        #[test]
        fn a_pair_of_lives_accepts_each_message_once_and_in_order(steps in steps()) {
            let mut sender = LinkSender::default();
            let mut receiver = LinkReceiver::default();
            let (mut sender_life, mut receiver_life, mut met) = (1u64, 1u64, 1u64);
            receiver.resume(sender_life);
            let (mut pushed, mut accepted) = (Vec::new(), Vec::new());
            let mut next = 0u64;
            for step in steps {
                match step {
                    Step::Push => {
                        sender.push(next);
                        pushed.push(next);
                        next += 1;
                    }
                    Step::Deliver => {
                        if let Some((number, &message)) = sender.next_to_send()
                            && receiver.receive(number, sender_life) == Verdict::Accept
                        {
                            accepted.push(message);
                        }
                    }
                    Step::Lose | Step::Reconnect => {
                        if matches!(step, Step::Lose) {
                            sender.next_to_send();
                        }
                        let last = receiver.resume(sender_life).expect("this is the latest life");
                        if met == receiver_life {
                            sender.reconnected_same(last);
                        } else {
                            sender.reconnected_new();
                            met = receiver_life;
                            pushed.clear();
                            accepted.clear();
                        }
                    }
                    Step::Confirm => if met == receiver_life {
                        sender.acked(receiver.last_received());
                    },
                    Step::RestartSender => {
                        sender = LinkSender::default();
                        sender_life += 1;
                        receiver.resume(sender_life);
                        met = receiver_life;
                        pushed.clear();
                        accepted.clear();
                    }
                    Step::RestartReceiver => {
                        receiver = LinkReceiver::default();
                        receiver_life += 1;
                        // The break is seen before anything is sent to the new life.
                        receiver.resume(sender_life);
                        sender.reconnected_new();
                        met = receiver_life;
                        pushed.clear();
                        accepted.clear();
                    }
                    Step::Late(number) => {
                        if number <= receiver.last_received() {
                            prop_assert_eq!(receiver.receive(number, sender_life), Verdict::Duplicate);
                        }
                        prop_assert_eq!(receiver.clone().receive(number, sender_life - 1), Verdict::Stale);
                    }
                }
                prop_assert_eq!(&accepted[..], &pushed[..accepted.len()]);
            }
            sender.reconnected_same(receiver.last_received());
            while let Some((number, &message)) = sender.next_to_send() {
                prop_assert_eq!(receiver.receive(number, sender_life), Verdict::Accept);
                accepted.push(message);
            }
            prop_assert_eq!(accepted, pushed);
        }
    }
}

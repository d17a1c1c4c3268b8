//! Positions: how far a spout has come, with everything before it acked.
//!
//! Owns: [`Window`], the emitted but unfinished messages of one spout in the order of their first emit. Leaves to
//! others: what a position means in the source.

use std::collections::VecDeque;

/// Messages in flight, numbered in the order in which they were first emitted.
///
/// A message's number is its message id. Acks may come in any order; the window's [`Window::low`] is the oldest
/// message that is not acked. Memory is that of the span from the oldest unfinished message to the newest.
#[derive(Debug, Clone)]
pub struct Window<T> {
    first: u64,
    messages: VecDeque<Option<T>>,
}

impl<T> Window<T> {
    /// An empty window whose first message gets the number `first`.
    pub fn starting_at(first: u64) -> Self {
        Self {
            first,
            messages: VecDeque::new(),
        }
    }

    /// Adds a message, with what is needed to emit it again. Returns its number.
    #[inline]
    pub fn push(&mut self, message: T) -> u64 {
        self.messages.push_back(Some(message));
        self.first + self.messages.len() as u64 - 1
    }

    /// The number that the next message will get.
    pub fn next(&self) -> u64 {
        self.first + self.messages.len() as u64
    }

    /// A message that is in flight.
    pub fn get(&self, number: u64) -> Option<&T> {
        let index = number.checked_sub(self.first)?;
        self.messages.get(usize::try_from(index).ok()?)?.as_ref()
    }

    /// Takes out a message that is acked. `None` if it was acked before, or never emitted.
    #[inline]
    pub fn finish(&mut self, number: u64) -> Option<T> {
        let index = number.checked_sub(self.first)?;
        let message = self.messages.get_mut(usize::try_from(index).ok()?)?.take();
        while let Some(None) = self.messages.front() {
            self.messages.pop_front();
            self.first += 1;
        }
        message
    }

    /// The number of the oldest message that is not acked: all before it are.
    pub fn low(&self) -> u64 {
        self.first
    }

    /// The oldest message that is not acked.
    pub fn oldest(&self) -> Option<&T> {
        self.messages.front()?.as_ref()
    }

    /// Messages in flight, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.messages.iter().flatten()
    }

    /// How many numbers there are from the oldest message in flight to the newest.
    pub fn span(&self) -> usize {
        self.messages.len()
    }

    /// Whether nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_window_agrees_with_a_map(first in 0u64..5, steps in prop::collection::vec(prop::option::of(0u64..40), 0..80)) {
            let mut window = Window::starting_at(first);
            let mut map = BTreeMap::new();
            let mut next = first;
            for step in steps {
                match step {
                    None => {
                        prop_assert_eq!(window.push(next * 10), next);
                        map.insert(next, next * 10);
                        next += 1;
                    }
                    Some(number) => prop_assert_eq!(window.finish(number), map.remove(&number)),
                }
                prop_assert_eq!(window.low(), map.keys().next().copied().unwrap_or(next));
                prop_assert_eq!(window.oldest(), map.values().next());
                prop_assert_eq!(window.iter().count(), map.len());
                prop_assert_eq!(window.next(), next);
            }
        }
    }
}

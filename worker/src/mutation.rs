//! The rules that the simulation takes out, one at a time, to show that it sees when they are missing.
//!
//! Owns: their names and the switch, which exists in this crate's tests only: elsewhere every rule holds, at no cost.

/// A rule that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// A task acks its input before it registers what it emitted for it.
    AckFirst,
    /// Ledger messages have no numbers: what is lost is not sent again, and what comes twice is taken twice.
    NoNumbers,
    /// Nobody checks of which epoch and of which life of its sender a frame is.
    NoFence,
    /// A drain is said to be over at once.
    NoDrain,
    /// Tasks of two numberings are taken for each other.
    MixNumberings,
}

/// Whether the rule is taken out.
#[cfg(test)]
pub(crate) fn lacks(mutation: Mutation) -> bool {
    crate::simulation::rim::mutation() == Some(mutation)
}

/// Whether the rule is taken out: never.
#[cfg(not(test))]
#[inline(always)]
pub(crate) const fn lacks(_: Mutation) -> bool {
    false
}

//! The epoch state machine.

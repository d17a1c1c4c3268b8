//! The built-in components: what each is called in a manifest, its settings and its class.
//!
//! Owns: one settings type per component kind, shared by the resource's schema (crate `waterspout-api`) and by
//! the code that runs it (crate `waterspout-worker`). Leaves to others: parsing of manifests, running.
//! Invariant: the key of a kind in a manifest is the `KIND` constant of its file.

pub mod check;
pub mod count;
pub mod duration;
pub mod file;
pub mod generator;
pub mod quantity;
pub mod redis;
pub mod rust;
pub mod script;
pub mod split;
pub mod stdout;

/// The stream that a built-in component emits to, and the name of a stream that has none in a manifest.
pub const DEFAULT_STREAM: &str = "default";

/// The stream that a spout has without declaring it, if a bolt reads it: tuples that were given up.
pub const DEAD_LETTERS: &str = "dead-letters";

/// The fields of [`DEAD_LETTERS`]: the stream that the tuple was emitted to, the tuple as a map of its fields, why it was
/// given up, and how often it was tried.
pub const DEAD_LETTER_FIELDS: [&str; 4] = ["stream", "tuple", "reason", "attempts"];

/// What an address looks like, as a regular expression: a host, a colon and a port.
pub const ADDRESS_PATTERN: &str = "^[^ ]+:[0-9]{1,5}$";

/// Where a spout goes on after its process died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpoutClass {
    /// The source can be read again from a position: nothing is lost, what was in flight is emitted again.
    ReReadable,
    /// The source keeps what was not acknowledged and delivers it again.
    Redelivered,
}

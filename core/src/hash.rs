//! The one hash that everything agrees on: fields grouping, key groups, state.
//!
//! Owns: the written, seeded, versioned hash of encoded fields, and from it the key group and the task. Version 1 is
//! XXH3 with 64 bits over the canonical encodings of the fields, one behind the other, in the order of the grouping.
//! Leaves to others: the encoding ([`crate::value`]).

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Version of everything in this file; it is part of the plan.
pub const HASH_VERSION: u32 = 1;

/// What is added to the seed for the second hash of a partial key.
pub const SECOND_SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// How many key groups the keys of a stream fall into: the unit in which state moves.
pub const KEY_GROUPS: u32 = 1 << 15;

/// The hash of encoded fields.
#[inline]
pub fn hash_fields(encoded: &[u8], seed: u64) -> u64 {
    xxh3_64_with_seed(encoded, seed)
}

/// The key group of a hash: its top 15 bits.
#[inline]
pub fn key_group(hash: u64) -> u32 {
    (hash >> 49) as u32
}

/// Which of `tasks` tasks owns a key group: contiguous ranges of groups, so that few move when tasks come or go.
#[inline]
pub fn owner(key_group: u32, tasks: u32) -> u32 {
    ((u64::from(key_group) * u64::from(tasks)) >> 15) as u32
}

/// The two tasks of `tasks` that share a key in a partial-key grouping: the owner of its hash, and among the other
/// tasks, in their order, the owner of its hash under `seed + `[`SECOND_SEED`]. One task has nobody to share with.
#[inline]
pub fn pair(encoded: &[u8], seed: u64, tasks: u32) -> (u32, u32) {
    let first = owner(key_group(hash_fields(encoded, seed)), tasks);
    if tasks < 2 {
        return (first, first);
    }
    let hash = hash_fields(encoded, seed.wrapping_add(SECOND_SEED));
    let second = owner(key_group(hash), tasks - 1);
    (first, if second >= first { second + 1 } else { second })
}

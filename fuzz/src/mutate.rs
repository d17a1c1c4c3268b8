//! Changes to an input: those that find faults in readers of lengths, numbers, texts and nested things.

use rand::RngExt as _;
use rand::rngs::SmallRng;

/// The longest input that comes of a change.
const MAX_BYTES: usize = 64 << 10;
/// The most changes to one input.
const MAX_CHANGES: usize = 6;

/// Numbers at the edges of what lengths and counts may be.
const EDGES: [u64; 14] = [
    0,
    1,
    0x7f,
    0x80,
    0xfe,
    0xff,
    0x7fff,
    0xffff,
    0x00ff_ffff,
    0x0100_0000,
    0x7fff_ffff,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    u64::MAX,
];

/// What texts are made of in the languages that are read.
const WORDS: [&str; 26] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    ":",
    ",",
    "null",
    "true",
    "-1",
    "1e309",
    "NaN",
    "\\u0000",
    "\\ud800",
    "\n",
    "  ",
    "- ",
    "&a ",
    "*a",
    "<<: ",
    "|",
    "$bytes",
    "é",
    "\u{feff}",
    "9223372036854775808",
    "\0",
];

/// Changes `input` once or several times; `other` is an input to take parts from.
pub(crate) fn mutate(rng: &mut SmallRng, input: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..rng.random_range(1..=MAX_CHANGES) {
        change(rng, input, other);
    }
    input.truncate(MAX_BYTES);
}

fn change(rng: &mut SmallRng, input: &mut Vec<u8>, other: &[u8]) {
    let at = rng.random_range(0..=input.len());
    match rng.random_range(0..10) {
        0 if at < input.len() => input[at] ^= 1 << rng.random_range(0..8),
        1 if at < input.len() => input[at] = rng.random(),
        2 if at < input.len() => input[at] = input[at].wrapping_add(rng.random_range(0..9)).wrapping_sub(4),
        3 => {
            // A number that stands there, or is meant to.
            let edge = EDGES[rng.random_range(0..EDGES.len())];
            let width = 1 << rng.random_range(0..4);
            let bytes = if rng.random() {
                edge.to_le_bytes()[..width].to_vec()
            } else {
                edge.to_be_bytes()[8 - width..].to_vec()
            };
            for (place, byte) in input[at..].iter_mut().zip(bytes) {
                *place = byte;
            }
        }
        4 => drop(input.drain(part(rng, at, input.len()))),
        5 => {
            let again = input[part(rng, at, input.len())].to_vec();
            for _ in 0..rng.random_range(1..20) {
                insert(input, at, &again);
            }
        }
        6 => {
            let from = rng.random_range(0..=other.len());
            insert(input, at, &other[part(rng, from, other.len())]);
        }
        7 => {
            // The rest of another one.
            input.truncate(at);
            input.extend_from_slice(&other[at.min(other.len())..]);
        }
        8 => insert(input, at, WORDS[rng.random_range(0..WORDS.len())].as_bytes()),
        _ => {
            let mut bytes = vec![0; rng.random_range(1..9)];
            bytes.fill_with(|| rng.random());
            insert(input, at, &bytes);
        }
    }
}

/// A part of so many bytes that begins at `at`; mostly a short one.
fn part(rng: &mut SmallRng, at: usize, length: usize) -> std::ops::Range<usize> {
    let most = if rng.random_range(0..4) == 0 { 1_000 } else { 16 };
    at..(at + rng.random_range(1..most)).min(length)
}

fn insert(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if input.len() + bytes.len() <= MAX_BYTES {
        input.splice(at..at, bytes.iter().copied());
    }
}

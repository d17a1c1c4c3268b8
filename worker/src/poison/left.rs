//! What a process that died left in the page.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::FileExt;

use waterspout_core::ledger::GROUP;

use super::page::{
    AT, BOLT, BOLT_WORDS, COUNTS, FIRST_BUNDLE, FIRST_GROUP, FIRST_KEYS, GROUPS, KEYS, LIFE, MAGIC, MARK,
    NO_LINEAGE, SPOUT, UNIT, bundle_of,
};
use super::{Cause, Culprit};

/// Where the parent writes how the process ended.
const HOW: u64 = 16;

/// How a process ended, as its parent saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It is not known, or somebody ended it: no tuple did.
    Otherwise,
    /// The system ended it, for the memory that it had.
    OutOfMemory,
    /// It crashed, or ended itself in a way that a worker does not.
    Crashed,
}

impl Ended {
    /// Writes it into the page, for the next process.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(self, file: &File) -> std::io::Result<()> {
        file.write_all_at(&(self as u64).to_le_bytes(), HOW)
    }

    fn of_code(code: u64) -> Self {
        match code {
            1 => Self::OutOfMemory,
            2 => Self::Crashed,
            _ => Self::Otherwise,
        }
    }
}

/// What a process left.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// The roots that it died of.
    pub culprits: Vec<Culprit>,
    /// Those whose spout was in the same process, with their keys: position in `culprits`, key.
    pub keys: Vec<(usize, u64)>,
    /// How often a tuple is tried.
    pub most_attempts: u32,
}

/// A bolt's task at a row.
struct AtRow {
    cause: Option<Cause>,
    roots: Vec<(u64, u64, u8)>,
}

/// Reads what the process before this one left.
///
/// # Errors
/// If the file cannot be read. What is in it and makes no sense is left out.
pub fn left_in(file: &File) -> std::io::Result<Left> {
    let words = file.metadata()?.len() / 8;
    if words < UNIT as u64 || read(file, 0)? != MAGIC {
        return Ok(Left::default());
    }
    let mut bolts = Vec::new();
    let mut spouts = BTreeMap::new();
    let mut start = UNIT as u64;
    while start + 2 <= words {
        let (what, length) = (read(file, start)?, read(file, start + 1)?);
        if length == 0 || length % UNIT as u64 != 0 || start + length > words {
            break;
        }
        match what >> 32 {
            BOLT if length >= BOLT_WORDS as u64 => bolts.extend(at_row(file, start)?),
            SPOUT => {
                spouts.insert(what as u32, (start, length));
            }
            _ => {}
        }
        start += length;
    }
    let culprits = culprits(bolts, Ended::of_code(read(file, HOW / 8)?));
    let mut keys = Vec::new();
    for (at, culprit) in culprits.iter().enumerate() {
        if let Some(&spout) = spouts.get(&culprit.spout)
            && let Some(key) = key_of(file, spout, culprit)?
        {
            keys.push((at, key));
        }
    }
    Ok(Left {
        culprits,
        keys,
        most_attempts: u32::try_from(read(file, 1)?).unwrap_or(u32::MAX),
    })
}

/// The roots that are to blame: those that are marked, or else those that any task was at.
fn culprits(bolts: Vec<AtRow>, ended: Ended) -> Vec<Culprit> {
    let is_known = bolts.iter().any(|bolt| bolt.cause.is_some());
    let guess = match ended {
        Ended::Otherwise => None,
        Ended::OutOfMemory => Some(Cause::OutOfMemory),
        Ended::Crashed => Some(Cause::Exited),
    };
    let is_sure = is_known || bolts.len() == 1;
    let mut seen = BTreeSet::new();
    let mut culprits = Vec::new();
    for bolt in bolts {
        let cause = if is_known { bolt.cause } else { guess };
        let Some(cause) = cause else { continue };
        for (of, sequence, root) in bolt.roots {
            if seen.insert((of, sequence, root)) {
                culprits.push(Culprit {
                    spout: (of >> 32) as u32,
                    life: of as u32,
                    sequence,
                    root,
                    cause,
                    is_sure,
                });
            }
        }
    }
    culprits
}

/// The row that the bolt's task with the region at `start` was at.
fn at_row(file: &File, start: u64) -> std::io::Result<Option<AtRow>> {
    let mut bytes = [0; 8 * BOLT_WORDS];
    file.read_exact_at(&mut bytes, 8 * start)?;
    let word = |at: usize| {
        let bytes = bytes
            .get(8 * at..8 * at + 8)
            .and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u64::from_le_bytes)
    };
    if word(AT) == 0 {
        return Ok(None);
    }
    let groups = (word(COUNTS) as u32 as usize).min(GROUPS);
    let root = |ordinal: u64, root: u64| {
        let at = FIRST_GROUP + 2 * ordinal as usize;
        ((ordinal as usize) < groups).then(|| (word(at), word(at + 1), root as u8))
    };
    let lineage = word(AT) & 0xffff_ffff;
    let roots = match bundle_of(lineage) {
        _ if lineage == NO_LINEAGE => Vec::new(),
        None => root(lineage >> 8, lineage & 0xff).into_iter().collect(),
        Some(bundle) => {
            let mut at = FIRST_BUNDLE;
            let is_there = bundle < (word(COUNTS) >> 32) as usize;
            for _ in 0..bundle {
                at += 1 + (word(at) as usize).min(BOLT_WORDS);
            }
            let roots = (word(at) as usize).min(BOLT_WORDS);
            let words = (at + 1..at + 1 + roots).filter(|_| is_there).map(word);
            words.filter_map(|word| root(word >> 8, word & 0xff)).collect()
        }
    };
    Ok(Some(AtRow {
        cause: Cause::of_code(word(MARK)),
        roots,
    }))
}

/// The key of a root of the spout with this region.
fn key_of(file: &File, (start, length): (u64, u64), culprit: &Culprit) -> std::io::Result<Option<u64>> {
    if read(file, start + LIFE as u64)? != u64::from(culprit.life) {
        return Ok(None);
    }
    let mut group = start + FIRST_KEYS as u64;
    while group + (1 + GROUP as u64) <= start + length {
        if read(file, group)? == culprit.sequence.wrapping_add(1) {
            return read(file, group + 1 + u64::from(culprit.root)).map(Some);
        }
        group += KEYS as u64;
    }
    Ok(None)
}

fn read(file: &File, word: u64) -> std::io::Result<u64> {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, 8 * word)?;
    Ok(u64::from_le_bytes(bytes))
}

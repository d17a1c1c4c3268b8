//! `count`: how often each combination of fields was seen.
//!
//! The state is a map from the encodings of the fields, one behind the other, to a number: equal values have equal
//! encodings. Short keys, which most are, live in a map of their own as one number each: no pointer to follow.

use hashbrown::{HashMap, HashSet};
use rustc_hash::FxBuildHasher;
use serde_json::Value;
use waterspout_core::component::count::{CountConfig, CountEmit};
use waterspout_core::value::{SMALL, load_small};

use super::{Bolt, ComponentError, Context, Emit, FieldIndex, Finished, Tuple, registry};

/// Bytes of a key beside which its length fits into one number.
const SHORT: usize = SMALL - 1;
/// Bytes of a count in a snapshot.
const COUNT: usize = 8;
/// Bytes of a key's length in a snapshot.
const LENGTH: usize = 4;
/// Totals that are emitted in one call at the finish.
const CHUNK: usize = 256;

/// The bolt.
#[derive(Debug)]
pub struct Count {
    emit: CountEmit,
    by: Vec<FieldIndex>,
    /// Keys of at most [`SHORT`] bytes, with their length in the highest byte.
    short: HashMap<u128, i64, FxBuildHasher>,
    long: HashMap<Box<[u8]>, i64, FxBuildHasher>,
    key: Vec<u8>,
    /// Keys whose count changed since the last tick; only where ticks emit.
    changed: HashSet<Box<[u8]>, FxBuildHasher>,
    /// At the finish: the totals that are left, the last ones first.
    left: Option<Vec<(Box<[u8]>, i64)>>,
}

impl Count {
    /// Makes the bolt.
    ///
    /// # Errors
    /// If the settings are none, or an input lacks a field.
    pub fn new(config: &Value, context: &Context) -> Result<Self, ComponentError> {
        let config: CountConfig = registry::parse(config, context)?;
        let by = config
            .by
            .iter()
            .map(|field| context.field(field))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            emit: config.emit,
            by,
            short: HashMap::default(),
            long: HashMap::default(),
            key: Vec::new(),
            changed: HashSet::default(),
            left: None,
        })
    }
}

/// Adds one to the count of a key. A free function: the key may be borrowed from the bolt.
#[inline]
fn increment(
    short: &mut HashMap<u128, i64, FxBuildHasher>,
    long: &mut HashMap<Box<[u8]>, i64, FxBuildHasher>,
    key: &[u8],
) -> i64 {
    let count = if key.len() <= SHORT {
        short.entry(pack(key)).or_insert(0)
    } else {
        long.entry_ref(key).or_insert(0)
    };
    *count += 1;
    *count
}

/// The number that stands for a short key.
#[inline]
fn pack(key: &[u8]) -> u128 {
    load_small(key) | (key.len() as u128) << (8 * SHORT)
}

/// The key that a number stands for.
fn unpack(packed: u128) -> Box<[u8]> {
    let bytes = packed.to_le_bytes();
    bytes[..usize::from(bytes[SHORT])].into()
}

impl Count {
    fn get(&self, key: &[u8]) -> i64 {
        let count = if key.len() <= SHORT {
            self.short.get(&pack(key))
        } else {
            self.long.get(key)
        };
        count.copied().unwrap_or_default()
    }

    /// The counts that changed since the last call, sorted by key, the last ones first.
    fn take_changed(&mut self) -> Vec<(Box<[u8]>, i64)> {
        let changed = std::mem::take(&mut self.changed);
        let mut counts: Vec<_> = changed
            .into_iter()
            .map(|key| {
                let count = self.get(&key);
                (key, count)
            })
            .collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        counts
    }

    /// Takes over a count.
    fn take(&mut self, key: &[u8], count: i64) {
        self.insert(key, count);
        if self.emit == CountEmit::EachTick {
            // What was not told yet moved with the counts, and nobody knows which these were.
            self.changed.get_or_insert_with(key, |key| key.into());
        }
    }

    fn insert(&mut self, key: &[u8], count: i64) {
        if key.len() <= SHORT {
            self.short.insert(pack(key), count);
        } else {
            self.long.insert(key.into(), count);
        }
    }
}

fn no_state() -> ComponentError {
    ComponentError::Settings("the state that was handed over is no state of 'count'".to_owned())
}

/// Appends one total to a snapshot: the key's length, the key, the count; numbers are little-endian.
fn write_total(snapshot: &mut Vec<u8>, key: &[u8], count: i64) {
    snapshot.extend_from_slice(&(key.len() as u32).to_le_bytes());
    snapshot.extend_from_slice(key);
    snapshot.extend_from_slice(&count.to_le_bytes());
}

/// Takes one total off a snapshot; `None` if it is cut short.
fn read_total<'a>(snapshot: &mut &'a [u8]) -> Option<(&'a [u8], i64)> {
    let (length, rest) = snapshot.split_first_chunk::<LENGTH>()?;
    let (key, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    let (count, rest) = rest.split_first_chunk::<COUNT>()?;
    *snapshot = rest;
    Some((key, i64::from_le_bytes(*count)))
}

impl Bolt for Count {
    #[inline]
    fn execute(&mut self, tuple: Tuple<'_>, out: &mut impl Emit) -> Result<(), ComponentError> {
        let key = match self.by.as_slice() {
            [field] => tuple.row.raw(field.of(tuple.stream)).unwrap_or_default(),
            fields => {
                self.key.clear();
                for field in fields {
                    self.key
                        .extend_from_slice(tuple.row.raw(field.of(tuple.stream)).unwrap_or_default());
                }
                &self.key
            }
        };
        let count = increment(&mut self.short, &mut self.long, key);
        match self.emit {
            CountEmit::EachTuple => {
                let fields = self.by.len() as u32;
                out.emit(0, |row| {
                    row.encoded(key, fields).int(count);
                })?;
            }
            CountEmit::EachTick => {
                self.changed.get_or_insert_with(key, |key| key.into());
            }
            CountEmit::AtFinish | CountEmit::Never => {}
        }
        Ok(())
    }

    fn tick(&mut self, out: &mut impl Emit) -> Result<(), ComponentError> {
        for (key, count) in self.take_changed() {
            let fields = self.by.len() as u32;
            out.emit(0, |row| {
                row.encoded(&key, fields).int(count);
            })?;
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut impl Emit) -> Result<Finished, ComponentError> {
        match self.emit {
            CountEmit::EachTuple | CountEmit::Never => return Ok(Finished::Done),
            CountEmit::EachTick if self.left.is_none() => self.left = Some(self.take_changed()),
            CountEmit::EachTick | CountEmit::AtFinish => {}
        }
        let (short, long) = (&mut self.short, &mut self.long);
        let left = self.left.get_or_insert_with(|| {
            let short = std::mem::take(short)
                .into_iter()
                .map(|(packed, count)| (unpack(packed), count));
            let mut left: Vec<_> = short.chain(std::mem::take(long)).collect();
            left.sort_unstable_by(|a, b| b.cmp(a));
            left
        });
        for _ in 0..CHUNK {
            let Some((key, count)) = left.pop() else {
                return Ok(Finished::Done);
            };
            let fields = self.by.len() as u32;
            out.emit(0, |row| {
                row.encoded(&key, fields).int(count);
            })?;
        }
        Ok(Finished::More)
    }

    fn snapshot(&mut self) -> Result<Option<Vec<u8>>, ComponentError> {
        let mut snapshot = Vec::new();
        for (&packed, &count) in &self.short {
            write_total(&mut snapshot, &unpack(packed), count);
        }
        for (key, &count) in self.long.iter() {
            write_total(&mut snapshot, key, count);
        }
        for (key, count) in self.left.iter().flatten() {
            write_total(&mut snapshot, key, *count);
        }
        Ok(Some(snapshot))
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), ComponentError> {
        let mut rest = snapshot;
        while !rest.is_empty() {
            let (key, count) = read_total(&mut rest).ok_or_else(no_state)?;
            self.take(key, count);
        }
        Ok(())
    }

    fn restore_all(&mut self, snapshots: &[&[u8]]) -> Result<(), ComponentError> {
        // Several tasks may have counted the same key, if its tuples went to any.
        let mut sums: HashMap<&[u8], i64, FxBuildHasher> = HashMap::default();
        for &(mut rest) in snapshots {
            while !rest.is_empty() {
                let (key, count) = read_total(&mut rest).ok_or_else(no_state)?;
                *sums.entry(key).or_insert(0) += count;
            }
        }
        sums.into_iter().for_each(|(key, count)| self.take(key, count));
        Ok(())
    }

    fn keep_keys(&mut self, is_own: &dyn Fn(&[u8]) -> bool) -> bool {
        self.short.retain(|&packed, _| is_own(&unpack(packed)));
        self.long.retain(|key, _| is_own(key));
        self.changed.retain(|key| is_own(key));
        if let Some(left) = &mut self.left {
            left.retain(|(key, _)| is_own(key));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(counts: &[(&[u8], i64)]) -> Count {
        let mut count = Count {
            emit: CountEmit::AtFinish,
            by: Vec::new(),
            short: HashMap::default(),
            long: HashMap::default(),
            key: Vec::new(),
            changed: HashSet::default(),
            left: None,
        };
        for &(key, total) in counts {
            count.insert(key, total);
        }
        count
    }

    #[test]
    fn a_snapshot_restores_short_and_long_keys() {
        let long = [b'x'; 40];
        let mut count = counting(&[(b"a", 3), (b"", 1), (&long, i64::MAX)]);
        let snapshot = count.snapshot().expect("it has one").expect("it keeps state");
        let mut other = counting(&[]);
        other.restore(&snapshot).expect("it is of this bolt");
        assert_eq!((&other.short, &other.long), (&count.short, &count.long));
    }

    #[test]
    fn tasks_that_share_what_one_had_keep_their_own_keys() {
        let long = [b'x'; 40];
        let mut count = counting(&[(b"a", 3), (b"b", 1), (&long, 7)]);
        count.changed.insert((*b"b").into());
        count.keep_keys(&|key| key != b"b");
        assert_eq!((count.get(b"a"), count.get(b"b"), count.get(&long)), (3, 0, 7));
        assert!(count.changed.is_empty());
    }

    #[test]
    fn what_several_tasks_counted_of_a_key_is_added_up() {
        let snapshots = [counting(&[(b"a", 3), (b"b", 1)]), counting(&[(b"a", 4)])]
            .map(|mut count| count.snapshot().expect("it has one").expect("it keeps state"));
        let mut count = counting(&[(b"a", 100)]);
        count
            .restore_all(&[&snapshots[0], &snapshots[1]])
            .expect("they are of this bolt");
        assert_eq!((count.get(b"a"), count.get(b"b")), (7, 1));
        assert!(count.restore_all(&[&snapshots[0][1..]]).is_err());
    }

    #[test]
    fn a_snapshot_that_is_cut_short_is_refused() {
        let mut count = counting(&[(b"word", 3)]);
        let snapshot = count.snapshot().expect("it has one").expect("it keeps state");
        for length in 1..snapshot.len() {
            assert!(counting(&[]).restore(&snapshot[..length]).is_err());
        }
    }
}

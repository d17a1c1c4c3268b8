//! `count`: how often each combination of fields was seen.
//!
//! The state is a map from the encodings of the fields, one behind the other, to a number: equal values have equal
//! encodings. Short keys, which most are, live in a map of their own as one number each: no pointer to follow.

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;
use serde_json::Value;
use waterspout_core::component::count::{CountConfig, CountEmit};
use waterspout_core::value::{SMALL, load_small};

use super::{Bolt, ComponentError, Context, Emit, FieldIndex, Finished, Tuple, registry};

/// Bytes of a key beside which its length fits into one number.
const SHORT: usize = SMALL - 1;
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
        short
            .entry(load_small(key) | (key.len() as u128) << (8 * SHORT))
            .or_insert(0)
    } else {
        long.entry_ref(key).or_insert(0)
    };
    *count += 1;
    *count
}

/// The key that a number stands for.
fn unpack(packed: u128) -> Box<[u8]> {
    let bytes = packed.to_le_bytes();
    bytes[..usize::from(bytes[SHORT])].into()
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
        if self.emit == CountEmit::EachTuple {
            let fields = self.by.len() as u32;
            out.emit(0, |row| {
                row.encoded(key, fields).int(count);
            })?;
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut impl Emit) -> Result<Finished, ComponentError> {
        if self.emit != CountEmit::AtFinish {
            return Ok(Finished::Done);
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
}

//! `count`: how often each combination of fields was seen.
//!
//! The state is a map from the encodings of the fields, one behind the other, to a number: equal values have equal
//! encodings.

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;
use serde_json::Value;
use waterspout_core::component::count::{CountConfig, CountEmit};

use super::{Bolt, ComponentError, Context, Emit, FieldIndex, Finished, Tuple, registry};

/// Totals that are emitted in one call at the finish.
const CHUNK: usize = 256;

/// The bolt.
#[derive(Debug)]
pub struct Count {
    emit: CountEmit,
    by: Vec<FieldIndex>,
    counts: HashMap<Box<[u8]>, i64, FxBuildHasher>,
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
        let by = config.by.iter().map(|field| context.field(field)).collect::<Result<_, _>>()?;
        Ok(Self { emit: config.emit, by, counts: HashMap::default(), key: Vec::new(), left: None })
    }
}

fn increment(counts: &mut HashMap<Box<[u8]>, i64, FxBuildHasher>, key: &[u8]) -> i64 {
    if let Some(count) = counts.get_mut(key) {
        *count += 1;
        return *count;
    }
    counts.insert(key.into(), 1);
    1
}

impl Bolt for Count {
    #[inline]
    fn execute(&mut self, tuple: Tuple<'_>, out: &mut impl Emit) -> Result<(), ComponentError> {
        let key = match self.by.as_slice() {
            [field] => tuple.row.raw(field.of(tuple.stream)).unwrap_or_default(),
            fields => {
                self.key.clear();
                for field in fields {
                    self.key.extend_from_slice(tuple.row.raw(field.of(tuple.stream)).unwrap_or_default());
                }
                &self.key
            }
        };
        let count = increment(&mut self.counts, key);
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
        let counts = &mut self.counts;
        let left = self.left.get_or_insert_with(|| {
            let mut left: Vec<_> = std::mem::take(counts).into_iter().collect();
            left.sort_unstable_by(|a, b| b.cmp(a));
            left
        });
        for _ in 0..CHUNK {
            let Some((key, count)) = left.pop() else { return Ok(Finished::Done) };
            let fields = self.by.len() as u32;
            out.emit(0, |row| {
                row.encoded(&key, fields).int(count);
            })?;
        }
        Ok(Finished::More)
    }
}

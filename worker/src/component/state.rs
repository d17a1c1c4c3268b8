//! State by key, for bolts that keep some.
//!
//! Owns: a map from keys to values, and its form as a snapshot. A key is the encodings of some fields, one behind the
//! other: equal values have equal encodings. Leaves to others: when it is snapshot and restored
//! ([`super::Bolt::snapshot`]).

use rustc_hash::FxHashMap;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{ComponentError, FieldIndex, Tuple};

/// Values by key.
#[derive(Debug)]
pub struct Keyed<V> {
    values: FxHashMap<Box<[u8]>, V>,
}

impl<V> Default for Keyed<V> {
    fn default() -> Self {
        Self {
            values: FxHashMap::default(),
        }
    }
}

/// The key of a tuple: some of its fields.
pub fn key_of(tuple: Tuple<'_>, fields: &[FieldIndex]) -> Box<[u8]> {
    let mut key = Vec::new();
    for field in fields {
        key.extend_from_slice(tuple.row.raw(field.of(tuple.stream)).unwrap_or_default());
    }
    key.into()
}

impl<V: Default> Keyed<V> {
    /// The value of a key, made if there is none.
    pub fn entry(&mut self, key: &[u8]) -> &mut V {
        if !self.values.contains_key(key) {
            self.values.insert(key.into(), V::default());
        }
        self.values
            .get_mut(key)
            .expect("it was just put in if it was not there")
    }
}

impl<V> Keyed<V> {
    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Option<&V> {
        self.values.get(key)
    }

    /// Takes the value of a key out.
    pub fn remove(&mut self, key: &[u8]) -> Option<V> {
        self.values.remove(key)
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Forgets all keys but these, for [`super::Bolt::keep_keys`].
    pub fn keep(&mut self, is_own: &dyn Fn(&[u8]) -> bool) {
        self.values.retain(|key, _| is_own(key));
    }

    /// All keys with their values, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &V)> {
        self.values.iter().map(|(key, value)| (&**key, value))
    }
}

impl<V: Serialize + DeserializeOwned> Keyed<V> {
    /// All of it as bytes, for [`super::Bolt::snapshot`].
    ///
    /// # Errors
    /// If a value does not serialize.
    pub fn snapshot(&self) -> Result<Vec<u8>, ComponentError> {
        let mut snapshot = Vec::new();
        for (key, value) in &self.values {
            let value = serde_json::to_vec(value)
                .map_err(|error| ComponentError::outside("write a value of the state", error))?;
            for part in [&**key, value.as_slice()] {
                snapshot.extend_from_slice(&(part.len() as u32).to_le_bytes());
                snapshot.extend_from_slice(part);
            }
        }
        Ok(snapshot)
    }

    /// Takes in what [`Keyed::snapshot`] gave.
    ///
    /// # Errors
    /// If the bytes are none of it.
    pub fn restore(&mut self, mut snapshot: &[u8]) -> Result<(), ComponentError> {
        while !snapshot.is_empty() {
            let (Some(key), Some(value)) = (part(&mut snapshot), part(&mut snapshot)) else {
                return Err(ComponentError::Settings(
                    "the state that was handed over is cut short".to_owned(),
                ));
            };
            let value = serde_json::from_slice(value)
                .map_err(|error| ComponentError::outside("read a value of the state", error))?;
            self.values.insert(key.into(), value);
        }
        Ok(())
    }
}

fn part<'a>(snapshot: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = snapshot.split_first_chunk::<4>()?;
    let (part, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *snapshot = rest;
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_restores_all_keys_and_a_part_of_one_is_refused() {
        let mut state: Keyed<(i64, String)> = Keyed::default();
        state.entry(b"a").0 = 3;
        state.entry(b"").1 = "empty key".to_owned();
        let snapshot = state.snapshot().expect("it serializes");
        let mut other: Keyed<(i64, String)> = Keyed::default();
        other.restore(&snapshot).expect("it is whole");
        assert_eq!(
            (other.len(), other.get(b"a").cloned(), other.remove(b"a")),
            (2, Some((3, String::new())), Some((3, String::new())))
        );
        assert!(
            Keyed::<(i64, String)>::default()
                .restore(&snapshot[..snapshot.len() - 1])
                .is_err()
        );
    }
}

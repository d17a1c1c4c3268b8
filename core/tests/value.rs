//! Values: one encoding each, and with it equality and hash.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use waterspout_core::hash::{HASH_VERSION, hash_fields, key_group, owner};
use waterspout_core::value::{MAX_DEPTH, Row, Value, ValueFault, check_row};

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<f64>().prop_map(Value::Float),
        "\\PC{0,300}".prop_map(Value::Text),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Value::Bytes),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Value::BigInt),
        any::<i64>().prop_map(Value::Timestamp),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::List),
            prop::collection::btree_map("\\PC{0,6}", inner, 0..5).prop_map(Value::Map),
        ]
    })
}

proptest! {
    #[test]
    fn values_are_read_as_they_were_written(fields in prop::collection::vec(values(), 0..5)) {
        let row: Vec<u8> = fields.iter().flat_map(Value::encode).collect();
        prop_assert_eq!(check_row(&row, fields.len()), Ok(()));
        let read: Vec<Value> = Row::new(&row).iter().map(|value| value.to_value()).collect();
        prop_assert_eq!(&read, &fields);
        for (index, field) in fields.iter().enumerate() {
            prop_assert_eq!(Row::new(&row).raw(index), Some(&field.encode()[..]));
        }
        prop_assert_eq!(Row::new(&row).raw(fields.len()), None);
        prop_assert!(check_row(&row, fields.len() + 1).is_err());
    }

    /// Whatever passes the check is the one encoding of what it says.
    #[test]
    fn only_the_canonical_encoding_passes(value in values(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut row = value.encode();
        let at = at.index(row.len());
        row[at] = to;
        if check_row(&row, 1).is_ok() {
            let read = Row::new(&row).get(0).unwrap().to_value();
            prop_assert_eq!(read.encode(), row);
        }
    }

    #[test]
    fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..100), fields in 0usize..4) {
        let _ = check_row(&bytes, fields);
    }

    #[test]
    fn every_task_owns_a_range_of_key_groups(tasks in 1u32..1025) {
        let owners: Vec<u32> = (0..waterspout_core::hash::KEY_GROUPS).map(|group| owner(group, tasks)).collect();
        prop_assert!(owners.is_sorted());
        prop_assert_eq!(owners[0], 0);
        prop_assert_eq!(owners.last().copied(), Some(tasks - 1));
    }
}

#[test]
fn equality_is_as_written_down() {
    assert_eq!(Value::Float(f64::NAN), Value::Float(-f64::NAN));
    assert_eq!(Value::Float(0.0), Value::Float(-0.0));
    assert_ne!(Value::Int(1), Value::Float(1.0));
    assert_eq!(Value::BigInt(vec![0, 0, 5]), Value::Int(5));
    assert_eq!(Value::BigInt(vec![0xff; 12]), Value::Int(-1));
    assert_eq!(
        Value::BigInt(vec![0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]),
        Value::Int(i64::MIN)
    );
    assert_ne!(
        Value::BigInt(vec![0, 0x80, 0, 0, 0, 0, 0, 0, 0]),
        Value::Int(i64::MIN)
    );
    assert_ne!(Value::from(""), Value::Null);
    assert_ne!(Value::from("1"), Value::Int(1));
}

#[test]
fn forms_that_are_not_canonical_are_refused() {
    let other_nan = [&[4][..], &0x7ff8_0000_0000_0001u64.to_le_bytes()].concat();
    let minus_zero = [&[4][..], &(-0.0f64).to_bits().to_le_bytes()].concat();
    let long_length = [&[5, 255][..], &3u32.to_le_bytes(), b"abc"].concat();
    let small_big = [9, 1, 5];
    let unsorted = [8, 6, 1, b'b', 0, 1, b'a', 0];
    let twice = [8, 6, 1, b'a', 0, 1, b'a', 0];
    for row in [
        &other_nan[..],
        &minus_zero,
        &long_length,
        &small_big,
        &unsorted,
        &twice,
    ] {
        assert_eq!(check_row(row, 1), Err(ValueFault::NotCanonical), "{row:?}");
    }
    let mut deep = Value::Null;
    for _ in 0..=MAX_DEPTH {
        deep = Value::List(vec![deep]);
    }
    assert_eq!(check_row(&deep.encode(), 1), Err(ValueFault::TooDeep));
    assert_eq!(check_row(&[11], 1), Err(ValueFault::UnknownTag(11)));
    assert_eq!(check_row(&[5, 1, 0xff], 1), Err(ValueFault::NotUtf8));
}

/// Vectors that a library in another language can check itself against. To renew them on purpose, with a new version
/// of the hash: `UPDATE_GOLDEN=1 cargo xtask test golden`.
#[test]
fn the_hash_is_that_of_the_golden_vectors() {
    let values = [
        ("null", Value::Null),
        ("true", Value::Bool(true)),
        ("0", Value::Int(0)),
        ("-1", Value::Int(-1)),
        ("1.5", Value::Float(1.5)),
        ("NaN", Value::Float(f64::NAN)),
        ("empty text", Value::from("")),
        ("the", Value::from("the")),
        ("Wörter 漢字", Value::from("Wörter 漢字")),
        ("300 x a", Value::from("a".repeat(300).as_str())),
        ("bytes 00 ff", Value::Bytes(vec![0, 255])),
        (
            "[1, [true]]",
            Value::List(vec![Value::Int(1), Value::List(vec![Value::Bool(true)])]),
        ),
        (
            "{a: 1, b: null}",
            Value::Map(BTreeMap::from([
                ("a".into(), Value::Int(1)),
                ("b".into(), Value::Null),
            ])),
        ),
        ("2^64", Value::BigInt(vec![1, 0, 0, 0, 0, 0, 0, 0, 0])),
        ("timestamp 0", Value::Timestamp(0)),
    ];
    let mut lines = format!(
        "# version {HASH_VERSION}: value, encoding, hash with seed 0, with seed 7, key group, task of 10\n"
    );
    for (name, value) in values {
        let encoded = value.encode();
        let hash = hash_fields(&encoded, 0);
        let hexadecimal: String = encoded
            .iter()
            .take(24)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let (group, task) = (key_group(hash), owner(key_group(hash), 10));
        lines += &format!(
            "{name}\t{hexadecimal}\t{hash:016x}\t{:016x}\t{group}\t{task}\n",
            hash_fields(&encoded, 7)
        );
    }
    golden("hash.txt", &lines);
}

fn golden(name: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(&path).unwrap_or_default(),
        text,
        "'{name}' is stale"
    );
}

//! Fuzz targets: whatever bytes come, the readers of frames, rows, ledger entries and plans take or refuse them.
//! `cargo xtask fuzz` runs them for long.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::mem::discriminant;

use waterspout_core::frame::wire;
use waterspout_core::plan::ParsedPlan;
use waterspout_core::value::{Row, RowWriter, check_row};
use waterspout_fuzz::fuzz;

#[test]
fn fuzz_frame() {
    fuzz("frame", |bytes| {
        let mut rest = bytes;
        let mut read = 0;
        while !rest.is_empty() {
            match wire::decode(&mut rest, |stream| (stream == 1).then_some(1)) {
                Ok((target, frame)) => {
                    // What is accepted is as good as what is made here.
                    let mut again = Vec::new();
                    wire::encode(&frame, target, &mut again);
                    let decoded = wire::decode(&mut &*again, |stream| (stream == 1).then_some(1));
                    assert_eq!(decoded, Ok((target, frame)));
                    read += 1;
                }
                Err(fault) => return (read, Some(discriminant(&fault))),
            }
        }
        (read, None)
    });
}

#[test]
fn fuzz_row() {
    fuzz("row", |bytes| {
        // How many fields there are is not said by the bytes.
        let found: Vec<_> = (0..6).map(|fields| check_row(bytes, fields)).collect();
        for (fields, _) in found.iter().enumerate().filter(|(_, result)| result.is_ok()) {
            let row = Row::new(bytes);
            let mut again = Vec::new();
            let mut writer = RowWriter::new(&mut again);
            for value in row.iter() {
                writer.value(&value.to_value());
            }
            // Each value has one encoding.
            assert_eq!((row.iter().count(), again.as_slice()), (fields, bytes));
        }
        let faults = found
            .iter()
            .map(|result| result.as_ref().map_err(discriminant).err());
        (faults.collect::<Vec<_>>(), bytes.first().copied())
    });
}

#[test]
fn fuzz_entries() {
    fuzz("entries", |bytes| {
        let entries = wire::decode_entries(bytes);
        if let Ok(entries) = &entries {
            let mut again = Vec::new();
            wire::encode_entries(entries, &mut again);
            assert_eq!(wire::decode_entries(&again).as_ref(), Ok(entries));
        }
        entries
            .map(|entries| entries.len())
            .map_err(|fault| discriminant(&fault))
    });
}

#[test]
fn fuzz_plan() {
    fuzz("plan", |bytes| match ParsedPlan::from_json(bytes) {
        Ok(plan) => {
            let json = plan.plan().to_json();
            let again = ParsedPlan::from_json(json.as_bytes()).unwrap();
            assert_eq!(again.plan(), plan.plan());
            String::new()
        }
        Err(error) => format!("{error:.40}"),
    });
}

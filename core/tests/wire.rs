//! Frames and entries on the wire: what goes in comes out, and nothing else gets in.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use proptest::prelude::*;
use waterspout_core::frame::{BUNDLES, Frame, FrameBuilder, FrameGroup, GroupId, wire};
use waterspout_core::ledger::{Change, LedgerEntry};
use waterspout_core::value::{Row, RowWriter, Value, ValueFault, check_row};

fn group(number: u8) -> GroupId {
    GroupId {
        spout: u32::from(number % 3),
        life: 1,
        sequence: u64::from(number),
    }
}

prop_compose! {
    fn frames()(
        rows in prop::collection::vec((any::<i64>(), "\\PC{0,40}", 0u8..8, any::<u8>()), 0..80),
        id in any::<u64>(),
        tracked in any::<bool>(),
    ) -> Frame {
        let mut builder = FrameBuilder::new(id, 1, 3);
        for (number, text, in_group, root) in rows {
            let mut row = Vec::new();
            RowWriter::new(&mut row).int(number).text(&text);
            if tracked && root % 7 == 0 {
                builder.push_several(&row, &[(group(in_group), root), (group(in_group + 1), 3), (group(0), 255 - root)]);
            } else if tracked {
                builder.push(&row, group(in_group), root);
            } else {
                builder.push_untracked(&row);
            }
        }
        builder.ship(0)
    }
}

fn decode(bytes: &[u8]) -> Result<Vec<(u32, Frame)>, wire::WireFault> {
    let mut rest = bytes;
    let mut frames = Vec::new();
    while !rest.is_empty() {
        frames.push(wire::decode(&mut rest, |stream| (stream == 1).then_some(2))?);
    }
    Ok(frames)
}

proptest! {
    #[test]
    fn frames_come_out_as_they_went_in(frames in prop::collection::vec(frames(), 0..4)) {
        let mut bytes = Vec::new();
        for (target, frame) in (0..).zip(&frames) {
            wire::encode(frame, target, &mut bytes);
        }
        let expected: Vec<_> = (0..).zip(frames).collect();
        prop_assert_eq!(decode(&bytes), Ok(expected));
    }

    /// What is accepted in spite of a wrong byte is still well formed: it encodes to what was read.
    #[test]
    fn a_frame_with_a_wrong_byte_is_refused_or_still_well_formed(frame in frames(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut bytes = Vec::new();
        wire::encode(&frame, 7, &mut bytes);
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(frames) = decode(&bytes) {
            for (target, frame) in frames {
                let mut again = Vec::new();
                wire::encode(&frame, target, &mut again);
                prop_assert_eq!(decode(&again), Ok(vec![(target, frame)]));
            }
        }
    }

    #[test]
    fn a_frame_that_is_cut_off_is_refused(frame in frames(), at in any::<prop::sample::Index>()) {
        let mut bytes = Vec::new();
        wire::encode(&frame, 7, &mut bytes);
        bytes.truncate(at.index(bytes.len()));
        prop_assert!(bytes.is_empty() || decode(&bytes).is_err());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
        let _ = wire::decode_entries(&bytes);
    }

    #[test]
    fn entries_come_out_as_they_went_in(entries in prop::collection::vec((any::<u8>(), any::<[u64; 4]>(), prop::option::of(any::<u64>())), 0..20)) {
        let entries: Vec<_> = entries
            .into_iter()
            .map(|(number, roots, id)| LedgerEntry {
                group: group(number),
                roots,
                change: match (number % 5, id) {
                    (0, _) => Change::Renew,
                    (_, id) => id.map_or(Change::Fail, Change::Xor),
                },
            })
            .collect();
        let mut bytes = Vec::new();
        wire::encode_entries(&entries, &mut bytes);
        prop_assert_eq!(wire::decode_entries(&bytes), Ok(entries));
        bytes.push(0);
        prop_assert!(wire::decode_entries(&bytes).is_err());
    }
}

fn example() -> Frame {
    let mut builder = FrameBuilder::new(0x0102_0304_0506_0708, 1, 3);
    let group = GroupId {
        spout: 2,
        life: 1,
        sequence: 9,
    };
    for (root, write) in [(4, true), (5, false)] {
        let mut row = Vec::new();
        let mut writer = RowWriter::new(&mut row);
        if write {
            writer.text("hi")
        } else {
            writer.int(-1)
        };
        builder.push(&row, group, root);
    }
    builder.ship(0)
}

/// The bytes of an example of the page.
fn documented(name: &str) -> Vec<u8> {
    let page = include_str!("../../docs/reference/wire-format.md");
    let block = page
        .split(&format!("<!-- golden: {name} -->\n```\n"))
        .nth(1)
        .unwrap();
    let digits: String = block.split("```").next().unwrap().split_whitespace().collect();
    let bytes = digits.as_bytes().chunks(2);
    bytes
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn the_examples_in_the_documentation_are_what_is_written_and_are_read() {
    let mut bytes = Vec::new();
    wire::encode(&example(), 7, &mut bytes);
    assert_eq!(bytes, documented("frame"));
    let read = wire::decode(&mut bytes.as_slice(), |stream| (stream == 1).then_some(1));
    assert_eq!(read, Ok((7, example())));

    let entry = |change| LedgerEntry {
        group: example().groups[0].group,
        roots: example().groups[0].roots,
        change,
    };
    let entries = [Change::Xor(example().id), Change::Fail, Change::Renew].map(entry);
    let mut bytes = Vec::new();
    wire::encode_entries(&entries, &mut bytes);
    assert_eq!(bytes, documented("entries"));
    assert_eq!(wire::decode_entries(&bytes).as_deref(), Ok(entries.as_slice()));

    let map = [("a", Value::Null), ("b", Value::Bool(false))];
    let values = [
        Value::Null,
        Value::Bool(false),
        Value::Bool(true),
        Value::Int(-5),
        Value::Float(2.5),
        Value::from("é"),
        Value::Bytes(vec![0, 255]),
        Value::List(vec![Value::Null, Value::Bool(false)]),
        Value::Map(map.map(|(key, value)| (key.to_owned(), value)).into()),
        Value::BigInt(vec![1, 0, 0, 0, 0, 0, 0, 0, 0]),
        Value::Timestamp(1_720_000_000_000_000),
    ];
    let bytes: Vec<u8> = values.iter().flat_map(Value::encode).collect();
    assert_eq!(bytes, documented("row"));
    assert_eq!(check_row(&bytes, values.len()), Ok(()));
    assert!(Row::new(&bytes).iter().map(|value| value.to_value()).eq(values));
}

/// What the page says of a frame, in numbers.
#[test]
fn a_frame_has_the_widths_that_the_documentation_gives() {
    let several = [
        (
            GroupId {
                spout: 2,
                life: 1,
                sequence: 9,
            },
            4,
        ),
        (
            GroupId {
                spout: 5,
                life: 1,
                sequence: 1,
            },
            7,
        ),
    ];
    let mut builder = FrameBuilder::new(1, 1, 3);
    builder.push_several(&[0], &several);
    builder.push(
        &[6, 255, 44, 1, 0, 0]
            .iter()
            .copied()
            .chain([7; 300])
            .collect::<Vec<u8>>(),
        several[0].0,
        5,
    );
    let frame = builder.ship(0);
    let mut bytes = Vec::new();
    wire::encode(&frame, 7, &mut bytes);
    let head = 4 + 8 + 4 + 4 + 2 + 2 + 2;
    let (groups, bundles, lineage) = (2 * 48, 2 + (2 + 2 * 3), 4 + 2 * 4);
    // A short row, and one that has its length in 4 bytes.
    let rows = 1 + (1 + 4) + 1 + 306;
    assert_eq!(bytes.len(), head + groups + bundles + lineage + rows);
    assert_eq!(bytes[..4], (bytes.len() as u32 - 4).to_le_bytes());
}

#[test]
fn what_does_not_fit_together_is_refused_by_name() {
    use wire::WireFault;
    let encoded = |change: &dyn Fn(&mut Frame)| {
        let mut frame = example();
        change(&mut frame);
        let mut bytes = Vec::new();
        wire::encode(&frame, 7, &mut bytes);
        let mut rest: &[u8] = &bytes;
        wire::decode(&mut rest, |stream| (stream == 1).then_some(1)).map(|_| ())
    };
    assert_eq!(encoded(&|_| ()), Ok(()));
    assert_eq!(
        encoded(&|frame| frame.stream = 2),
        Err(WireFault::UnknownStream(2))
    );
    assert_eq!(
        encoded(&|frame| frame.lineage[1] = 6),
        Err(WireFault::WrongLineage)
    );
    assert_eq!(
        encoded(&|frame| frame.lineage[1] = 1 << 8),
        Err(WireFault::WrongLineage)
    );
    assert_eq!(
        encoded(&|frame| frame.lineage[1] = BUNDLES),
        Err(WireFault::WrongLineage)
    );
    let unused = |frame: &mut Frame| frame.bundles.push(vec![(0, 4)]);
    assert_eq!(encoded(&unused), Err(WireFault::WrongLineage));
    assert_eq!(
        encoded(&|frame| frame.groups[0].roots[3] = 1),
        Err(WireFault::WrongLineage)
    );
    assert_eq!(
        encoded(&|frame| frame.groups.clear()),
        Err(WireFault::WrongLineage)
    );
    assert_eq!(encoded(&|frame| frame.data.push(0)), Err(WireFault::LeftOver));
    let not_utf8 = WireFault::WrongRow {
        row: 0,
        fault: ValueFault::NotUtf8,
    };
    assert_eq!(encoded(&|frame| frame.data[2] = 0xff), Err(not_utf8));
    let many = |frame: &mut Frame| {
        frame.groups = vec![
            FrameGroup {
                group: group(0),
                roots: [0; 4]
            };
            60_001
        ]
    };
    assert_eq!(encoded(&many), Err(WireFault::TooManyGroups(60_001)));
    let mut huge: &[u8] = &u32::MAX.to_le_bytes();
    assert_eq!(
        wire::decode(&mut huge, |_| Some(1)).err(),
        Some(WireFault::TooLong(u32::MAX as usize))
    );
}

//! Frames and entries on the wire: what goes in comes out, and nothing else gets in.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use proptest::prelude::*;
use waterspout_core::frame::{BUNDLES, Frame, FrameBuilder, FrameGroup, GroupId, wire};
use waterspout_core::ledger::{Change, LedgerEntry};
use waterspout_core::value::{RowWriter, ValueFault};

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

#[test]
fn the_example_in_the_documentation_is_what_is_written() {
    let page = include_str!("../../docs/reference/wire-format.md");
    let block = page
        .split("<!-- golden: frame -->\n```\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let documented: String = block.split_whitespace().collect();
    let mut bytes = Vec::new();
    wire::encode(&example(), 7, &mut bytes);
    let written: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(written, documented);
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

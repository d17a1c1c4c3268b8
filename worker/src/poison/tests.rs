//! A page is written as a process does, and read as its successor does.

use std::fs::File;

use tempfile::NamedTempFile;
use waterspout_core::frame::{Frame, FrameBuilder, GroupId};
use waterspout_core::ledger::{Ledger, LedgerSettings};

use super::*;

const SETTINGS: LedgerSettings = LedgerSettings {
    spout: 3,
    life: 9,
    timeout_micros: 1_000_000,
    max_pending: 1_000,
    max_pending_bytes: 1 << 20,
};

fn group(spout: u32, sequence: u64) -> GroupId {
    GroupId {
        spout,
        life: 9,
        sequence,
    }
}

fn left(file: &NamedTempFile) -> Left {
    left_in(&File::open(file.path()).expect("it is there")).expect("it can be read")
}

fn frame() -> Frame {
    let mut builder = FrameBuilder::new(1, 0, 0);
    builder.push(&[], group(3, 4), 7);
    builder.push(&[], group(5, 6), 8);
    builder.push_several(&[], &[(group(3, 4), 1), (group(5, 6), 2)]);
    builder.push_several(&[], &[(group(3, 4), 11), (group(5, 6), 12)]);
    builder.push_untracked(&[]);
    builder.ship(2)
}

fn roots(left: &Left) -> Vec<(u32, u64, u8)> {
    left.culprits
        .iter()
        .map(|at| (at.spout, at.sequence, at.root))
        .collect()
}

#[test]
fn the_roots_of_the_row_that_was_marked_are_to_blame_and_no_others() {
    let file = NamedTempFile::new().expect("a file can be made");
    let page = Page::open(file.path()).expect("it can be used");
    page.set_most_attempts(7).expect("it can be written");
    let (guilty, other) = (page.bolt(1), page.bolt(2));
    let frame = frame();
    guilty.enter(&frame);
    other.enter(&frame);
    other.at(0, &frame);
    guilty.at(1, &frame);
    // Somebody ended the process.
    assert_eq!(left(&file).culprits, []);
    run_at(Some(*guilty));
    mark_here(Cause::Panicked);
    run_at(None);
    let found = left(&file);
    assert_eq!(roots(&found), [(5, 6, 8)]);
    assert_eq!(
        (found.culprits[0].cause, found.culprits[0].is_sure),
        (Cause::Panicked, true)
    );
    assert_eq!(found.most_attempts, 7);
    guilty.at(3, &frame);
    assert_eq!(roots(&left(&file)), [(3, 4, 11), (5, 6, 12)]);
    // Between two rows nothing is to blame.
    guilty.leave();
    assert_eq!(left(&file).culprits, []);
    guilty.at(3, &frame);
    // Its process is gone when the next one opens it.
    std::mem::forget((page, guilty, other));
    Page::open(file.path()).expect("it can be used");
    assert_eq!(left(&file).culprits, []);
}

#[test]
fn tasks_share_the_blame_if_it_is_not_known_whose_it_is() {
    let file = NamedTempFile::new().expect("a file can be made");
    let page = Page::open(file.path()).expect("it can be used");
    let (one, two) = (page.bolt(1), page.bolt(2));
    let frame = frame();
    for place in [&one, &two] {
        place.enter(&frame);
    }
    one.at(0, &frame);
    Ended::OutOfMemory
        .write(
            &File::options()
                .write(true)
                .open(file.path())
                .expect("it is there"),
        )
        .expect("it can be written");
    let found = left(&file);
    assert_eq!(roots(&found), [(3, 4, 7)]);
    assert_eq!(
        (found.culprits[0].cause, found.culprits[0].is_sure),
        (Cause::OutOfMemory, true)
    );
    two.at(1, &frame);
    let found = left(&file);
    assert_eq!(roots(&found), [(3, 4, 7), (5, 6, 8)]);
    assert!(found.culprits.iter().all(|culprit| !culprit.is_sure));
}

#[test]
fn keys_of_roots_are_found_again() {
    let file = NamedTempFile::new().expect("a file can be made");
    let page = Page::open(file.path()).expect("it can be used");
    let keys = page.spout(3, &SETTINGS).expect("the page has a file");
    keys.begin(9);
    let mut ledger = Ledger::new(SETTINGS);
    for message in 1_000..1_400 {
        ledger.open(message, 1, 0);
        if message % 100 == 50 {
            keys.note(&mut ledger);
        }
    }
    keys.note(&mut ledger);
    let bolt = page.bolt(1);
    let mut builder = FrameBuilder::new(1, 0, 0);
    builder.push(&[], group(3, 1), 99);
    let frame = builder.ship(2);
    bolt.enter(&frame);
    bolt.at(0, &frame);
    bolt.mark(Cause::Error);
    assert_eq!(left(&file).keys, [(0, 1_000 + 256 + 99)]);
    keys.begin(10);
    assert_eq!(left(&file).keys, []);
}

#[test]
fn a_page_that_makes_no_sense_blames_nobody() {
    let file = NamedTempFile::new().expect("a file can be made");
    for bytes in [vec![], vec![0xff; 100], vec![0xff; 1 << 16], {
        let mut bytes = vec![0xff; 1 << 16];
        bytes[..8].copy_from_slice(&page::MAGIC.to_le_bytes());
        bytes[8 * page::UNIT..8 * page::UNIT + 16]
            .copy_from_slice(&[[1, 0, 0, 0, 1, 0, 0, 0], 1024u64.to_le_bytes()].concat());
        bytes
    }] {
        std::fs::write(file.path(), bytes).expect("it can be written");
        assert_eq!(left(&file).keys, []);
    }
}

#[test]
fn a_guess_counts_once_it_was_there_twice() {
    let mut tally = Tally::new(1, Cause::OutOfMemory);
    tally.count(Cause::OutOfMemory, false);
    assert_eq!(tally.times, 0);
    tally.count(Cause::OutOfMemory, false);
    assert_eq!(tally.times, 2);
    tally.count(Cause::OutOfMemory, false);
    tally.count(Cause::Panicked, true);
    assert_eq!((tally.times, tally.cause), (4, Cause::Panicked));
}

//! What a `file` spout reads, replays and goes on with.

use std::fs;
use std::io::Write;

use proptest::prelude::*;
use serde_json::json;
use tempfile::TempDir;

use super::super::testing::Recorder;
use super::*;

fn context(base: &Path, index: u32, tasks: u32) -> Context {
    Context {
        base: base.to_owned(),
        ..super::super::testing::context("lines", index, tasks)
    }
}

fn spout(base: &Path, config: Value) -> Result<FileSpout, String> {
    FileSpout::new(&config, &context(base, 0, 1)).map_err(|error| error.to_string())
}

fn poll_all(spout: &mut FileSpout, out: &mut Recorder) {
    while spout.poll(out).expect("it reads") == Polled::More {}
}

#[test]
fn every_line_is_read_once_over_all_tasks() {
    let directory = TempDir::new().expect("a directory");
    let lines: Vec<String> = (0..1000).map(|number| format!("line {number}")).collect();
    fs::write(directory.path().join("a.txt"), lines[..400].join("\n")).expect("written");
    fs::write(directory.path().join("b.txt"), lines[400..].join("\r\n") + "\r\n").expect("written");
    let files = find(directory.path(), "*.txt").expect("found");
    let mut found = Vec::new();
    for index in 0..3 {
        let mut bounded = Bounded::with_range(&files, index, 3, 100).expect("made");
        let mut take = |_: Place, line: &[u8], _: &Path| {
            found.push(String::from_utf8(line.to_vec()).expect("utf-8"));
            Ok(())
        };
        while matches!(bounded.next(&mut take).expect("it reads"), Next::Line) {}
    }
    found.sort();
    let mut lines = lines;
    lines.sort();
    assert_eq!(found, lines);
}

#[test]
fn every_line_is_read_once_whatever_becomes_of_the_number_of_tasks() {
    let directory = TempDir::new().expect("a directory");
    let mut lines: Vec<String> = (0..1000).map(|number| format!("line {number}")).collect();
    fs::write(directory.path().join("a.txt"), lines[..400].join("\n")).expect("written");
    fs::write(directory.path().join("b.txt"), lines[400..].join("\n")).expect("written");
    let files = find(directory.path(), "*.txt").expect("found");
    let mut found = Vec::new();
    let mut positions: Vec<Option<Value>> = Vec::new();
    for (tasks, each) in [(2, 90), (5, 31), (3, 57), (3, 11), (1, 200), (4, usize::MAX)] {
        let mut next = Vec::new();
        for index in 0..tasks {
            let mut bounded = Bounded::with_range(&files, index, tasks, 100).expect("made");
            match positions.get(index) {
                Some(Some(position)) if positions.len() == tasks => bounded.resume(position.clone()),
                _ => bounded.resume_part(&positions),
            }
            .expect("they are its own");
            let mut take = |_: Place, line: &[u8], _: &Path| {
                found.push(String::from_utf8(line.to_vec()).expect("utf-8"));
                Ok(())
            };
            // Some are ahead of others.
            for _ in 0..each.saturating_mul(index + 1) {
                if !matches!(bounded.next(&mut take).expect("it reads"), Next::Line) {
                    break;
                }
            }
            next.push(Some(bounded.position(None)));
        }
        positions = next;
    }
    found.sort();
    lines.sort();
    assert_eq!(found, lines);
}

#[test]
fn a_line_that_failed_is_read_again_where_it_was() {
    let directory = TempDir::new().expect("a directory");
    fs::write(directory.path().join("a.txt"), "one\ntwo\nthree").expect("written");
    let mut spout = spout(directory.path(), json!({"path": "a.txt"})).expect("made");
    let mut out = Recorder::default();
    poll_all(&mut spout, &mut out);
    for message in [2, 1] {
        spout.fail(message);
    }
    assert_eq!(spout.poll(&mut out).expect("it reads"), Polled::Done);
    assert_eq!(out.texts(), ["one", "two", "three", "three", "two"]);
}

proptest! {
    #[test]
    fn the_next_life_loses_nothing_and_repeats_only_what_was_not_acked(acks in prop::collection::btree_set(0u64..20, 0..20)) {
        let directory = TempDir::new().expect("a directory");
        let lines: Vec<String> = (0..20).map(|number| number.to_string()).collect();
        fs::write(directory.path().join("a.txt"), lines.join("\n")).expect("written");
        let mut first = spout(directory.path(), json!({"path": "a.txt"})).expect("made");
        let mut out = Recorder::default();
        poll_all(&mut first, &mut out);
        for &message in &acks {
            first.ack(message);
        }
        let low = (0..20).find(|message| !acks.contains(message)).unwrap_or(20);
        let mut second = spout(directory.path(), json!({"path": "a.txt"})).expect("made");
        second.resume(first.position().expect("it has one")).expect("it is its own");
        let mut out = Recorder::default();
        poll_all(&mut second, &mut out);
        prop_assert_eq!(out.texts(), &lines[low as usize..]);
    }
}

#[test]
fn a_file_that_grows_is_followed_by_whole_lines() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("a.log");
    fs::write(&path, "one\ntw").expect("written");
    let mut spout = spout(directory.path(), json!({"path": "*.log", "follow": true})).expect("made");
    let mut out = Recorder::default();
    poll_all(&mut spout, &mut out);
    assert_eq!(out.texts(), ["one"]);
    fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .expect("open")
        .write_all(b"o\nthree\n")
        .expect("written");
    poll_all(&mut spout, &mut out);
    assert_eq!(out.texts(), ["one", "two", "three"]);
    spout.ack(0);
    let mut next = self::spout(directory.path(), json!({"path": "*.log", "follow": true})).expect("made");
    next.resume(spout.position().expect("it has one"))
        .expect("it is its own");
    let mut out = Recorder::default();
    poll_all(&mut next, &mut out);
    assert_eq!(out.texts(), ["two", "three"]);
}

#[test]
fn a_file_that_was_replaced_or_cut_is_read_anew() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("a.log");
    fs::write(&path, "one\n").expect("written");
    let mut spout = spout(directory.path(), json!({"path": "*.log", "follow": true})).expect("made");
    let mut out = Recorder::default();
    poll_all(&mut spout, &mut out);
    fs::rename(&path, directory.path().join("a.old")).expect("renamed");
    fs::write(&path, "two\n").expect("written");
    poll_all(&mut spout, &mut out);
    let Source::Follow(follow) = &mut spout.source else {
        panic!("it follows")
    };
    follow.look_for_files().expect("found");
    poll_all(&mut spout, &mut out);
    assert_eq!(out.texts(), ["one", "two"]);
    fs::write(&path, "x\n").expect("written");
    poll_all(&mut spout, &mut out);
    poll_all(&mut spout, &mut out);
    assert_eq!(out.texts(), ["one", "two", "x"]);
}

#[test]
fn bad_input_is_named_with_its_place() {
    let directory = TempDir::new().expect("a directory");
    let base = directory.path();
    let missing = spout(base, json!({"path": "none/*.md"})).expect_err("there is none");
    assert!(missing.contains("no file matches 'none/*.md'") && missing.contains(&base.display().to_string()));
    fs::create_dir(base.join("text")).expect("made");
    assert!(
        spout(base, json!({"path": "text"}))
            .expect_err("a directory")
            .contains("is a directory")
    );
    assert!(
        spout(base, json!({"path": "a**b"}))
            .expect_err("no pattern")
            .contains("is no pattern")
    );
    fs::write(base.join("bad.txt"), b"good\nb\xffd\n").expect("written");
    let mut bad = spout(base, json!({"path": "bad.txt"})).expect("made");
    let error = bad
        .poll(&mut Recorder::default())
        .expect_err("not UTF-8")
        .to_string();
    assert!(
        error.contains("bad.txt' is not UTF-8 at byte 6") && error.contains("invalidUtf8: Replace"),
        "{error}"
    );
    let mut lossy = spout(base, json!({"path": "bad.txt", "invalidUtf8": "Replace"})).expect("made");
    let mut out = Recorder::default();
    poll_all(&mut lossy, &mut out);
    assert_eq!(out.texts(), ["good", "b\u{fffd}d"]);
}

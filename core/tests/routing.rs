//! Groupings: which tasks tuples go to.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::collections::{BTreeSet, HashMap};

use proptest::prelude::*;
use waterspout_core::graph::Grouping;
use waterspout_core::hash::pair;
use waterspout_core::routing::{Choose, Router, Target};
use waterspout_core::value::{Row, Value};

fn one(router: &mut Router, key: &Value) -> u32 {
    match router.route(Row::new(&key.encode())) {
        Target::One(task) => task,
        other => panic!("it went to {other:?}"),
    }
}

/// To renew it on purpose: `UPDATE_GOLDEN=1 cargo xtask test golden`.
#[test]
fn the_two_tasks_of_a_partial_key_are_the_golden_ones() {
    let keys = ["", "a", "nathan", "bob", "joey", "größer", "x".repeat(300).leak()].map(Value::from);
    let numbers = [0, 1, -1, i64::MAX].map(Value::from);
    let mut lines =
        String::from("# value, tasks of 2, of 3, of 10 and of 1000 with seed 0, of 10 with seed 7\n");
    for value in keys.iter().chain(&numbers) {
        let encoded = value.encode();
        let pairs = [(2, 0), (3, 0), (10, 0), (1000, 0), (10, 7)].map(|(tasks, seed)| {
            let (first, second) = pair(&encoded, seed, tasks);
            format!("{first}+{second}")
        });
        let shown: String = format!("{value:?}").chars().take(24).collect();
        lines += &format!("{shown}\t{}\n", pairs.join("\t"));
    }
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/partial-key.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &lines).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(&path).unwrap_or_default(),
        lines,
        "'partial-key.txt' is stale"
    );
}

#[test]
fn local_or_shuffle_stays_on_the_worker_if_it_can() {
    let mut router = Router::new(&Grouping::LocalOrShuffle, 6, 0, 0);
    let key = Value::from("any");
    let all: BTreeSet<u32> = (0..6).map(|_| one(&mut router, &key)).collect();
    assert_eq!(all.len(), 6, "nobody said yet where the tasks are");
    router.place(|task| task % 3 == 1);
    assert_eq!(
        (0..4).map(|_| one(&mut router, &key)).collect::<BTreeSet<_>>(),
        [1, 4].into()
    );
    router.avoid(|task| task == 2);
    assert_eq!(
        (0..4).map(|_| one(&mut router, &key)).collect::<BTreeSet<_>>(),
        [1, 4].into()
    );
    router.place(|_| false);
    assert_eq!(
        (0..5).map(|_| one(&mut router, &key)).collect::<BTreeSet<_>>(),
        [0, 1, 3, 4, 5].into()
    );
}

#[test]
fn a_custom_grouping_chooses_any_tasks_that_there_are() {
    struct ByLength;
    impl Choose for ByLength {
        fn choose(&mut self, row: Row<'_>, chosen: &mut Vec<u32>) {
            let length = row.text(0).unwrap_or_default().len() as u32;
            chosen.extend([length, 0, length, 99]);
        }
    }
    let mut router = Router::custom(Box::new(ByLength), 4);
    let mut route = |text: &str| {
        assert_eq!(
            router.route(Row::new(&Value::from(text).encode())),
            Target::Chosen
        );
        router.chosen().to_vec()
    };
    assert_eq!(route("abc"), [0, 3]);
    assert_eq!(route(""), [0]);
    assert_eq!(route("abcdefg"), [0]);
}

proptest! {
    #[test]
    fn a_partial_key_goes_to_two_tasks_at_most_and_evens_them_out(tasks in 2u32..40, seed: u64, key in ".{0,20}", away in 0u32..40) {
        let mut router = Router::new(&Grouping::PartialKey(vec![0]), tasks, seed, 0);
        let key = Value::from(key.as_str());
        let (first, second) = pair(&key.encode(), seed, tasks);
        prop_assert!(first != second && first < tasks && second < tasks);
        let mut hits: HashMap<u32, u32> = HashMap::new();
        for _ in 0..100 {
            *hits.entry(one(&mut router, &key)).or_default() += 1;
        }
        prop_assert_eq!(hits, HashMap::from([(first, 50), (second, 50)]));
        router.avoid(|task| task == away);
        for _ in 0..10 {
            prop_assert!(one(&mut router, &key) != away);
        }
    }

    #[test]
    fn a_partial_key_spreads_one_hot_key_where_fields_do_not(tasks in 2u32..20, seed: u64) {
        let mut partial = Router::new(&Grouping::PartialKey(vec![0]), tasks, seed, 0);
        let mut fields = Router::new(&Grouping::Fields(vec![0]), tasks, seed, 0);
        let hot = Value::from("hot");
        let spread = |router: &mut Router| (0..50).map(|_| one(router, &hot)).collect::<BTreeSet<_>>().len();
        prop_assert_eq!((spread(&mut partial), spread(&mut fields)), (2, 1));
    }
}

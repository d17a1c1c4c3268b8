//! What several tests run: the sample text's counts, and a topology that never ends.

use std::collections::BTreeMap;

use crate::repository;

/// A topology `idle` that never ends and does little: ten numbers a second, to standard output.
pub const IDLE: &str = "
apiVersion: waterspout.dev/v1alpha1
kind: Topology
metadata: {name: idle}
spec:
  workers: {replicas: 2}
  spouts:
  - name: numbers
    generator: {rate: 10, shape: {sequence: {}}}
    streams: [{fields: [number]}]
  bolts:
  - name: out
    replicas: 2
    inputs: [{from: numbers}]
    stdout: {}
";

/// How often each word is in the text of the word count, counted here.
///
/// # Panics
/// If the text cannot be read.
pub fn sample_counts() -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    let files = std::fs::read_dir(repository().join("examples/wordcount/text")).expect("the text is there");
    for file in files {
        let path = file.expect("the text is there").path();
        let text = std::fs::read_to_string(path).expect("the text is UTF-8");
        for word in text.split_whitespace() {
            *counts.entry(word.to_owned()).or_insert(0) += 1;
        }
    }
    counts
}

/// The words and counts that a word count printed, among lines of other kinds.
///
/// # Panics
/// If a word was printed twice, or its count is no number.
pub fn printed_counts(text: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for (word, count) in text.lines().filter_map(|line| line.split_once('\t')) {
        // A tab or a backslash in a word would be escaped, and a word has no tab.
        let count = count.parse().expect("a count is a number");
        let before = counts.insert(word.replace("\\\\", "\\"), count);
        assert_eq!(before, None, "'{word}' was printed twice");
    }
    counts
}

//! No text makes the reading of a manifest panic, hang, or point outside of the text.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use waterspout_api::Manifest;

const WORDCOUNT: &str = include_str!("good/wordcount.yaml");

/// Reads a text, and checks what every diagnostic promises.
fn read(text: &str) -> Result<(), TestCaseError> {
    let start = Instant::now();
    let result = Manifest::parse("m.yaml", text);
    prop_assert!(
        start.elapsed() < Duration::from_secs(5),
        "it took {:?}",
        start.elapsed()
    );
    let Err(faults) = result else { return Ok(()) };
    prop_assert!(!faults.is_empty());
    let lines = text.split(['\n', '\r']).count();
    for fault in faults {
        prop_assert!(fault.line >= 1 && fault.column >= 1 && fault.length >= 1);
        prop_assert!(fault.line <= lines + 1, "line {} of {lines}", fault.line);
        let shown = fault.to_string();
        prop_assert!(
            shown
                .chars()
                .all(|character| character == '\n' || !character.is_control())
        );
        prop_assert!(
            shown.lines().nth(4).is_some_and(|line| line.contains('^')),
            "{shown}"
        );
    }
    Ok(())
}

/// What YAML gives a meaning to, and what the resource does.
fn piece() -> impl Strategy<Value = String> {
    let fixed = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ": ",
        ":",
        "- ",
        "-",
        ", ",
        "\n",
        "\n  ",
        "\n    ",
        "\t",
        "&a ",
        "*a",
        "<<: ",
        "!!str ",
        "!x ",
        "| ",
        "|\n",
        ">-\n",
        "\"",
        "'",
        "#",
        "---\n",
        "...\n",
        "%YAML 1.2\n",
        "? ",
        "~",
        "null",
        "yes",
        "0x1F",
        "1e999",
        ".inf",
        "\u{feff}",
        "\r",
        "\r\n",
        "\u{0}",
        "\u{85}",
        "\u{2028}",
        "ä",
        "𝄞",
        "apiVersion: waterspout.dev/v1alpha1\n",
        "kind: Topology\n",
        "metadata: {name: t}\n",
        "spec:\n",
        "  spouts:\n",
        "  - name: a\n",
        "    file: {path: p}\n",
        "  bolts:\n",
        "inputs: ",
        "from: a",
        "streams: [{fields: [a]}]\n",
        "replicas: 99999999999999999999999\n",
        "timeout: 1s",
    ]);
    prop_oneof![4 => fixed.prop_map(str::to_owned), 1 => ".{0,3}"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        read(&text)?;
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        read(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn pieces_of_yaml_are_read_or_refused(pieces in prop::collection::vec(piece(), 0..60)) {
        read(&pieces.concat())?;
    }

    #[test]
    fn a_manifest_with_changes_is_read_or_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0usize..8, piece()), 1..6)
    ) {
        let mut text: Vec<char> = WORDCOUNT.chars().collect();
        for (index, removed, piece) in changes {
            let from = index.index(text.len() + 1);
            let to = (from + removed).min(text.len());
            text.splice(from..to, piece.chars());
        }
        read(&text.into_iter().collect::<String>())?;
    }
}

/// Texts made to be slow: deep nesting, many keys, many anchors, one long line, many faults.
#[test]
fn large_texts_are_read_in_time() {
    let many = |piece: &dyn Fn(usize) -> String, count: usize| (0..count).map(piece).collect::<String>();
    let mut list_of_spouts = WORDCOUNT
        .split("  spouts:")
        .next()
        .expect("it has spouts")
        .to_owned();
    list_of_spouts.push_str("  spouts:\n");
    list_of_spouts.push_str(&many(&|number| format!("  - {{nam: s{number}, x: 1}}\n"), 20_000));
    for text in [
        "[".repeat(100_000),
        "- ".repeat(100_000),
        "a: ".repeat(100_000),
        "? ".repeat(100_000),
        "{a: ".repeat(100_000),
        "&a ".repeat(100_000),
        "!".repeat(100_000),
        "#".repeat(1_000_000),
        format!("\"{}\"", "x".repeat(1_000_000)),
        many(&|number| format!("k{number}: {number}\n"), 100_000),
        many(&|number| format!("k{number}: &a{number} [1]\n"), 50_000),
        many(&|number| format!("--- {number}\n"), 50_000),
        format!("{{{}}}", many(&|number| format!("k{number}: {number}, "), 50_000)),
        list_of_spouts,
        "x".repeat(8 << 20),
    ] {
        let start = Instant::now();
        assert!(Manifest::parse("m.yaml", &text).is_err());
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{:?}: {:?}",
            text.get(..20),
            start.elapsed()
        );
    }
}

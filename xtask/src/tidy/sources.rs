//! Rules about the Rust sources.

use std::path::Path;

use super::{is_in, line_of};

/// Lines of product code after which a file should be two.
const MAX_LINES: usize = 520;

/// What a text must not have, where it may have it all the same, and what to do.
struct Banned {
    text: &'static str,
    allowed_in: &'static [&'static str],
    /// Also in tests.
    everywhere: bool,
    advice: &'static str,
}

const BANNED: [Banned; 11] = [
    Banned {
        text: "#[ignore",
        allowed_in: &[],
        everywhere: true,
        advice: "a test runs, or goes",
    },
    Banned {
        text: "todo!(",
        allowed_in: &[],
        everywhere: true,
        advice: "finish it",
    },
    Banned {
        text: "unimplemented!(",
        allowed_in: &[],
        everywhere: true,
        advice: "finish it",
    },
    Banned {
        text: "std::fs",
        allowed_in: NOT_CORE,
        everywhere: false,
        advice: "core does no I/O",
    },
    Banned {
        text: "std::net",
        allowed_in: NOT_CORE,
        everywhere: false,
        advice: "core does no I/O",
    },
    Banned {
        text: "std::thread",
        allowed_in: NOT_CORE,
        everywhere: false,
        advice: "core has no threads",
    },
    Banned {
        text: "Instant::now",
        allowed_in: NOT_CORE,
        everywhere: false,
        advice: "in core, time comes in",
    },
    Banned {
        text: "SystemTime",
        allowed_in: NOT_CORE,
        everywhere: false,
        advice: "in core, time comes in",
    },
    Banned {
        text: "tonic::",
        allowed_in: &["worker/src/transport"],
        everywhere: false,
        advice: "gRPC stays in the transport",
    },
    Banned {
        text: "std::env::var",
        allowed_in: &["xtask"],
        everywhere: false,
        advice: "no variable of the environment changes what a program does; make it a flag",
    },
    Banned {
        text: "proto::",
        allowed_in: &["worker/src/transport"],
        everywhere: false,
        advice: "messages of gRPC stay in the transport",
    },
];

const NOT_CORE: &[&str] = &["api", "worker", "operator", "cli", "bench", "e2e", "xtask"];

/// Checks one file.
pub(super) fn check(path: &Path, text: &str) -> Vec<String> {
    let shown = path.display();
    let mut findings = Vec::new();
    if !text.starts_with("//!") {
        findings.push(format!(
            "{shown}:1: no header; say with `//!` what the file owns and leaves to others"
        ));
    }
    let is_test = path
        .components()
        .any(|part| part.as_os_str() == "tests" || part.as_os_str() == "check")
        || path.file_name().is_some_and(|name| name == "tests.rs");
    let product = if is_test {
        ""
    } else {
        text.split("\n#[cfg(test)]\nmod tests {")
            .next()
            .unwrap_or_default()
    };
    let lines = product.lines().count();
    if lines > MAX_LINES {
        findings.push(format!(
            "{shown}:{lines}: more than {MAX_LINES} lines; make it two files of one idea each"
        ));
    }
    // This file names what it looks for.
    if path.ends_with("xtask/src/tidy/sources.rs") {
        return findings;
    }
    for banned in &BANNED {
        let searched = if banned.everywhere { text } else { product };
        if is_in(path, banned.allowed_in) {
            continue;
        }
        for (at, _) in searched.match_indices(banned.text) {
            findings.push(format!(
                "{shown}:{}: '{}': {}",
                line_of(searched, at),
                banned.text,
                banned.advice
            ));
        }
    }
    let tests = if is_test { text } else { &text[product.len()..] };
    let sleeps = tests
        .match_indices("sleep(")
        .filter(|(at, _)| !tests[..*at].ends_with("allow("));
    for (at, _) in sleeps {
        let line = line_of(text, at + text.len() - tests.len());
        findings.push(format!(
            "{shown}:{line}: a test that sleeps; wait for a condition"
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        check(Path::new(path), text)
    }

    #[test]
    fn a_file_without_a_header_is_found() {
        assert_eq!(findings("core/src/a.rs", "//! Owns nothing.\n").len(), 0);
        assert_eq!(findings("core/src/a.rs", "fn a() {}\n").len(), 1);
    }

    #[test]
    fn clocks_in_core_are_found_and_those_in_its_tests_are_not() {
        let clock = concat!("//! A.\nfn a() { std::time::Inst", "ant::now(); }\n");
        assert_eq!(findings("core/src/a.rs", clock).len(), 1);
        assert_eq!(findings("worker/src/a.rs", clock).len(), 0);
        assert_eq!(findings("core/tests/a.rs", clock).len(), 0);
    }

    #[test]
    fn sleeping_tests_are_found() {
        let sleeping = concat!("//! A.\nfn a() { std::thread::sl", "eep(x); }\n");
        assert_eq!(findings("e2e/tests/a.rs", sleeping).len(), 1);
        assert_eq!(findings("worker/src/a.rs", sleeping).len(), 0);
    }

    #[test]
    fn long_files_are_found() {
        assert_eq!(
            findings("core/src/a.rs", &format!("//! A.\n{}", "\n".repeat(600))).len(),
            1
        );
    }
}

//! Rules about Rust sources: headers, lengths, and what may be named where.

use std::collections::BTreeSet;

use super::code::Code;
use super::names::{Name, Role, names};
use super::{Finding, Source, line_of};

/// Most lines of product code of a file.
const MAX_LINES: usize = 500;

/// From this many lines of product code on a file is mentioned.
const MANY_LINES: usize = 400;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// What must be mended.
    pub(super) findings: Vec<Finding>,
    /// What should be looked at.
    pub(super) warnings: Vec<Finding>,
}

/// A rule about a name.
struct Rule {
    breaks: fn(&Name) -> bool,
    applies: fn(&str) -> bool,
    scope: Scope,
    advice: &'static str,
    /// The word in a comment `tidy: allow(word) reason` with which a line is let pass.
    pass: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Product,
    Tests,
    Both,
}

const RULES: [Rule; 8] = [
    Rule {
        breaks: |name| {
            ["std::env", "std::fs", "std::net", "std::thread"]
                .iter()
                .any(|path| name.starts_with(path))
        },
        applies: |path| path.starts_with("core/"),
        scope: Scope::Product,
        advice: "core has no I/O, no threads and no environment; let the caller do it",
        pass: None,
    },
    Rule {
        breaks: |name| name.has("Instant") || name.has("SystemTime"),
        applies: |path| path.starts_with("core/"),
        scope: Scope::Product,
        advice: "core has no clock; take the time as an argument",
        pass: None,
    },
    Rule {
        breaks: |name| {
            ["tokio", "tonic", "kube", "rand"]
                .iter()
                .any(|path| name.starts_with(path))
        },
        applies: |path| path.starts_with("core/"),
        scope: Scope::Product,
        advice: "core has none of tokio, tonic, kube and rand; move it to the crate that does",
        pass: None,
    },
    Rule {
        // Who speaks it from outside, as no worker does, has to have them as well.
        breaks: is_grpc,
        applies: |path| {
            let speaks = [
                "worker/tests/strangers.rs",
                "e2e/tests/traces.rs",
                "worker/src/traces/export.rs",
            ];
            !path.starts_with("worker/src/transport") && !speaks.contains(&path)
        },
        scope: Scope::Both,
        advice: "types of gRPC and protobuf stay in worker/src/transport and worker/src/traces/export.rs; give it a type of the worker's own",
        pass: None,
    },
    Rule {
        breaks: |name| name.starts_with("kube") || name.starts_with("k8s_openapi"),
        applies: |path| path.starts_with("worker/") && !path.starts_with("worker/src/discovery"),
        scope: Scope::Both,
        advice: "types of Kubernetes stay in worker/src/discovery; give it a type of the worker's own",
        pass: None,
    },
    Rule {
        // Its own file and the constants of the platform are the same whatever the environment is.
        breaks: |name| {
            let is_fixed = name.starts_with("std::env::current_exe") || name.starts_with("std::env::consts");
            name.starts_with("std::env") && !is_fixed
        },
        applies: |path| {
            !["main.rs", "args.rs", "build.rs"].contains(&file_name(path)) && !path.starts_with("core/")
        },
        scope: Scope::Product,
        advice: "only main.rs and args.rs read the environment; take what you need as an argument",
        pass: None,
    },
    Rule {
        breaks: |name| {
            let is_ignored = name.role == Role::Attribute && name.path == "ignore";
            is_ignored || name.role == Role::Macro && ["todo", "unimplemented"].contains(&name.last())
        },
        applies: |_| true,
        scope: Scope::Both,
        advice: "nothing is left for later; finish it, or remove it",
        pass: None,
    },
    Rule {
        breaks: is_sleep,
        applies: |_| true,
        scope: Scope::Tests,
        advice: "tests do not sleep; wait for a condition, or say why with `// tidy: allow(sleep) reason`",
        pass: Some("sleep"),
    },
];

fn is_grpc(name: &Name) -> bool {
    let library = ["tonic", "tonic_prost", "prost", "prost_types"]
        .iter()
        .any(|path| name.starts_with(path));
    library || name.path.contains("transport::proto") || name.starts_with("proto")
}

fn is_sleep(name: &Name) -> bool {
    let is_function = name.role == Role::Call || name.role == Role::Other && name.path.contains("::");
    is_function && ["sleep", "sleep_ms", "sleep_until"].contains(&name.last())
}

/// Checks all sources.
pub(super) fn check(sources: &[Source]) -> Report {
    let codes: Vec<(&Source, Code)> = sources
        .iter()
        .map(|source| (source, Code::new(&source.text)))
        .collect();
    let test_modules: BTreeSet<String> = codes
        .iter()
        .flat_map(|(source, code)| {
            code.test_modules
                .iter()
                .map(|module| module_path(&source.path, module))
        })
        .collect();
    let mut report = Report::default();
    for (source, code) in &codes {
        check_source(
            source,
            code,
            is_test_file(&source.path, &test_modules),
            &mut report,
        );
    }
    report
}

fn check_source(source: &Source, code: &Code, is_test: bool, report: &mut Report) {
    let path = &source.path;
    if !source.text.starts_with("//!") {
        let what = "it has no header; say with `//!` what the file owns and what it leaves to others";
        report.findings.push(Finding::new(path, 1, what));
    }
    let lines = if is_test { 0 } else { code.product_lines() };
    let what =
        format!("it has {lines} lines of product code, and {MAX_LINES} are the most; part it by ideas");
    if lines > MAX_LINES {
        report.findings.push(Finding::new(path, 1, what));
    } else if lines > MANY_LINES {
        report.warnings.push(Finding::new(path, 1, what));
    }
    let rules: Vec<&Rule> = RULES.iter().filter(|rule| (rule.applies)(path)).collect();
    for name in names(&code.text) {
        let scope = if is_test || code.is_test(name.offset) {
            Scope::Tests
        } else {
            Scope::Product
        };
        for rule in &rules {
            let is_in_scope = rule.scope == Scope::Both || rule.scope == scope;
            if !is_in_scope || !(rule.breaks)(&name) {
                continue;
            }
            let line = line_of(&source.text, name.offset);
            if !rule
                .pass
                .is_some_and(|word| is_let_pass(&source.text, line, word))
            {
                let what = format!("'{}': {}", name.path, rule.advice);
                report.findings.push(Finding::new(path, line, what));
            }
        }
    }
}

/// Whether a comment on this line or on the one before lets it pass, with a reason.
fn is_let_pass(text: &str, line: usize, word: &str) -> bool {
    let mark = format!("tidy: allow({word})");
    let lines = text
        .lines()
        .skip(line.saturating_sub(2))
        .take(if line > 1 { 2 } else { 1 });
    lines
        .filter_map(|line| line.split_once("//")?.1.split_once(&mark))
        .any(|(_, reason)| !reason.trim().is_empty())
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The file or folder of a module that a file declares, without its ending.
fn module_path(declared_in: &str, module: &str) -> String {
    let folder = match declared_in.rsplit_once('/') {
        Some((folder, "mod.rs" | "lib.rs" | "main.rs")) => folder,
        _ => declared_in.trim_end_matches(".rs"),
    };
    format!("{folder}/{module}")
}

/// Whether all of a file is tests: it lies in `tests/`, `e2e/` or `fuzz/`, or belongs to a module under `#[cfg(test)]`.
fn is_test_file(path: &str, test_modules: &BTreeSet<String>) -> bool {
    let stem = path.trim_end_matches(".rs");
    let mut folders = stem.match_indices('/').map(|(at, _)| &stem[..at]);
    path.starts_with("e2e/")
        || path.starts_with("fuzz/")
        || path.split('/').any(|part| part == "tests")
        || test_modules.contains(stem)
        || folders.any(|folder| test_modules.contains(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(files: &[(&str, &str)]) -> Report {
        let sources: Vec<Source> = files
            .iter()
            .map(|(path, text)| Source {
                path: (*path).to_owned(),
                text: format!("//! Header.\n{text}"),
            })
            .collect();
        check(&sources)
    }

    #[test]
    fn names_that_do_not_belong_are_found_at_their_line() {
        let cases: [(&str, &str, &[usize]); 27] = [
            ("core/src/a.rs", "use std::{fmt, fs};", &[2]),
            ("core/src/a.rs", "use std::time::Duration;", &[]),
            ("core/src/a.rs", "use std::time;\nfn a(b: time::Instant) {}", &[3]),
            ("core/src/a.rs", "fn a() { std::thread::spawn(b); }", &[2]),
            ("core/src/a.rs", "// std::thread\nfn a() { b(\"std::fs\") }", &[]),
            ("core/src/a.rs", "#[tokio::main]\nfn a() {}", &[2]),
            ("core/src/a.rs", "#[cfg(test)]\nmod tests { use std::fs; }", &[]),
            ("core/tests/a.rs", "use std::fs;", &[]),
            ("worker/src/a.rs", "use std::{fs, time::Instant};", &[]),
            ("worker/src/a.rs", "use tonic::Status;", &[2]),
            ("worker/src/a.rs", "use crate::transport::proto;", &[2]),
            ("worker/src/a.rs", "use tonic_like::A; use b::prototype;", &[]),
            ("worker/src/transport/a.rs", "use tonic::Status;", &[]),
            ("worker/src/a.rs", "use kube::Client;", &[2]),
            ("worker/src/discovery/a.rs", "use kube::Client;", &[]),
            (
                "worker/src/a.rs",
                "use std::env;\nfn a() { std::env::var(b); }",
                &[2, 3],
            ),
            ("worker/src/a.rs", "fn a() { std::env::current_exe(); }", &[]),
            ("worker/src/main.rs", "fn a() { std::env::var(b); }", &[]),
            ("core/src/a.rs", "fn a() { std::env::var(b); }", &[2]),
            (
                "worker/src/a.rs",
                "fn a() { todo!(); core::unimplemented!() }",
                &[2, 2],
            ),
            ("e2e/tests/a.rs", "#[test]\n#[ignore]\nfn a() {}", &[3]),
            ("e2e/tests/a.rs", "fn a() { std::thread::sleep(b); }", &[2]),
            (
                "e2e/src/a.rs",
                "use tokio::time::sleep;\nfn a() { sleep(b); }",
                &[2, 3],
            ),
            ("worker/src/a.rs", "fn a() { std::thread::sleep(b); }", &[]),
            (
                "worker/src/a.rs",
                "#[cfg(test)]\nmod tests {\nfn a() { thread::sleep(b); }\n}",
                &[4],
            ),
            (
                "e2e/src/a.rs",
                "// Why. tidy: allow(sleep) it polls\nthread::sleep(b);",
                &[],
            ),
            ("e2e/src/a.rs", "thread::sleep(b); // tidy: allow(sleep)", &[2]),
        ];
        for (path, text, expected) in cases {
            let found: Vec<usize> = report(&[(path, text)])
                .findings
                .iter()
                .map(|found| found.line)
                .collect();
            assert_eq!(found, expected, "{path}: {text}");
        }
    }

    #[test]
    fn a_file_without_a_header_is_found() {
        let source = Source {
            path: "core/src/a.rs".to_owned(),
            text: "/// A.\nfn a() {}\n".to_owned(),
        };
        assert_eq!(check(&[source]).findings[0].line, 1);
    }

    #[test]
    fn long_files_are_found_and_tests_do_not_count() {
        let tests = format!("#[cfg(test)]\nmod tests {{{}}}\n", "\n".repeat(600));
        let cases = [(399, 0, 0), (400, 0, 1), (499, 0, 1), (500, 1, 0)];
        for (lines, findings, warnings) in cases {
            let text = format!("{}{tests}", "\n".repeat(lines));
            let report = report(&[("core/src/a.rs", &text)]);
            let found = (report.findings.len(), report.warnings.len());
            assert_eq!(found, (findings, warnings), "{lines} lines and a header");
        }
    }

    #[test]
    fn modules_of_tests_may_lie_in_files_of_their_own() {
        let long = "use std::fs;\n".repeat(600);
        let cases = [
            ("core/src/epoch/mod.rs", "core/src/epoch/check.rs", true),
            ("core/src/epoch/mod.rs", "core/src/epoch/check/world.rs", true),
            ("core/src/epoch.rs", "core/src/epoch/check/world.rs", true),
            ("core/src/lib.rs", "core/src/check.rs", true),
            ("core/src/epoch/mod.rs", "core/src/graph/check.rs", false),
        ];
        for (declared_in, path, is_test) in cases {
            let declaration = (declared_in, "#[cfg(test)]\nmod check;");
            let found = report(&[declaration, (path, &long)]).findings;
            assert_eq!(found.is_empty(), is_test, "{path} declared in {declared_in}");
        }
    }
}

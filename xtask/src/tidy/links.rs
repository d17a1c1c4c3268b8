//! Links in the documentation lead somewhere.

use std::path::Path;

use super::{Finding, Source};

/// Checks that every relative link of a page names a file or a folder.
pub(super) fn check(root: &Path, page: &Source) -> Vec<Finding> {
    let folder = root
        .join(&page.path)
        .parent()
        .map(Path::to_owned)
        .unwrap_or_default();
    let mut findings = Vec::new();
    for (line, target) in targets(&page.text) {
        let is_elsewhere = target.is_empty() || target.contains("://") || target.starts_with("mailto:");
        if is_elsewhere || folder.join(target).exists() {
            continue;
        }
        let what = format!("the link to '{target}' leads nowhere; mend or remove it");
        findings.push(Finding::new(&page.path, line, what));
    }
    findings
}

/// The targets of links, without what follows `#`, and their lines. Code is left out.
fn targets(text: &str) -> Vec<(usize, &str)> {
    let mut targets = Vec::new();
    let mut in_code = false;
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with("```") || line.trim_start().starts_with("~~~") {
            in_code = !in_code;
        } else if !in_code {
            targets.extend(of_line(line).into_iter().map(|target| (number, target)));
        }
    }
    targets
}

fn of_line(line: &str) -> Vec<&str> {
    let in_code = |at: usize| line[..at].matches('`').count() % 2 == 1;
    let inline = line
        .match_indices("](")
        .map(|(at, opening)| (at, &line[at + opening.len()..]));
    // A definition: `[name]: target`.
    let definition = line.starts_with('[').then(|| line.split_once("]: ")).flatten();
    let definition = definition.map(|(_, rest)| (0, rest));
    inline
        .chain(definition)
        .filter(|(at, _)| !in_code(*at))
        .map(|(_, rest)| {
            rest.trim_start_matches('<')
                .split([')', '#', ' ', '>'])
                .next()
                .unwrap_or(rest)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_with_their_lines_and_code_is_not_searched() {
        let cases: [(&str, &[(usize, &str)]); 7] = [
            ("a [b](c.md) [d](e/#f)", &[(1, "c.md"), (1, "e/")]),
            ("\n[![b](c.svg)](d.md)", &[(2, "c.svg"), (2, "d.md")]),
            ("[b](#here)", &[(1, "")]),
            ("[b](<c.md> \"title\")", &[(1, "c.md")]),
            ("[b]: c.md", &[(1, "c.md")]),
            ("`a[b](c)` [d](e.md)", &[(1, "e.md")]),
            ("```\n[b](c.md)\n```\n[d](e.md)", &[(4, "e.md")]),
        ];
        for (text, expected) in cases {
            assert_eq!(targets(text), expected, "{text}");
        }
    }

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        let page = Source {
            path: "src/page.md".to_owned(),
            text: "[a](../src/main.rs) [b](https://example.com)\n[c](none.md) [d](#here)".to_owned(),
        };
        let found = check(Path::new(env!("CARGO_MANIFEST_DIR")), &page);
        let expected = Finding::new(
            "src/page.md",
            2,
            "the link to 'none.md' leads nowhere; mend or remove it",
        );
        assert_eq!(found, [expected]);
    }
}

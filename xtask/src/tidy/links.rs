//! Links in the documentation lead somewhere.

use std::path::Path;

use super::line_of;

/// Checks that every relative link in a page names a file.
pub(super) fn check(repository: &Path, path: &Path, text: &str) -> Vec<String> {
    let folder = repository.join(path.parent().unwrap_or(Path::new("")));
    text.match_indices("](")
        .filter_map(|(at, _)| {
            let target = text[at + 2..].split([')', '#', ' ']).next().unwrap_or_default();
            let is_elsewhere = target.is_empty() || target.contains("://") || target.starts_with("mailto:");
            if is_elsewhere || folder.join(target).exists() {
                return None;
            }
            let line = line_of(text, at);
            Some(format!(
                "{}:{line}: the link to '{target}' leads nowhere; mend or remove it",
                path.display()
            ))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_to_nothing_is_found() {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        let text = "[a](src/main.rs) [b](https://example.com)\n[c](none.md) [d](#here)";
        let found = check(repository, Path::new("page.md"), text);
        assert_eq!(
            found,
            ["page.md:2: the link to 'none.md' leads nowhere; mend or remove it"]
        );
    }
}

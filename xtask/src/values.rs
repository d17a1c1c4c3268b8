//! The page of the chart's settings, made from the comments of its values.
//!
//! Owns: reading `values.yaml`, in which a comment that begins with `# -- ` says what the key below it is, and one with
//! `# @default -- ` what its default is called where it is too long to be shown.

use std::fmt::Write;

use anyhow::{Context, bail, ensure};
use serde_json::Value;

const HEAD: &str = "# Settings of the chart\n\nGenerated from the comments of `charts/waterspout/values.yaml` by `cargo xtask generate`. \
                    Do not edit.\n\nSet one by `--set KEY=VALUE` of `helm install` and `helm upgrade`, or several in a file that `--values` names. A key \
                    that is not here is refused, and so is a value of another type.\n\n| key | default | meaning |\n|---|---|---|\n";

/// The page.
///
/// # Errors
/// If the values are no YAML, or a setting has no comment.
pub(crate) fn page(values: &str) -> anyhow::Result<String> {
    let defaults: Value = serde_yaml::from_str(values).context("read the values")?;
    let mut page = HEAD.to_owned();
    for setting in settings(values, &defaults)? {
        let default = match setting.default {
            Some(default) => default,
            None => format!("`{}`", at(&defaults, &setting.path)),
        };
        let key = setting.path.join(".");
        writeln!(
            page,
            "| `{key}` | {default} | {} |",
            setting.meaning.replace('|', "\\|")
        )?;
    }
    Ok(page)
}

struct Setting {
    path: Vec<String>,
    meaning: String,
    /// What its default is called.
    default: Option<String>,
}

fn at<'v>(values: &'v Value, path: &[String]) -> &'v Value {
    path.iter().fold(values, |value, key| &value[key])
}

/// All that have a comment, in their order.
fn settings(values: &str, defaults: &Value) -> anyhow::Result<Vec<Setting>> {
    let mut found = Vec::new();
    // The keys around a line, each with its indentation.
    let mut around: Vec<(usize, String)> = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    // Within a setting: its own keys are values.
    let mut within: Option<usize> = None;
    for (number, line) in (1..).zip(values.lines()) {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if text.is_empty() {
            continue;
        }
        if within.is_some_and(|outer| indent > outer) {
            continue;
        }
        within = None;
        if let Some(said) = text.strip_prefix('#') {
            comment.push(said.trim());
            continue;
        }
        let Some((key, _)) = text.split_once(':') else {
            bail!("line {number} of the values is no key");
        };
        around.retain(|(outer, _)| *outer < indent);
        around.push((indent, key.to_owned()));
        let path: Vec<String> = around.iter().map(|(_, key)| key.clone()).collect();
        if comment.is_empty() {
            ensure!(
                at(defaults, &path)
                    .as_object()
                    .is_some_and(|inner| !inner.is_empty()),
                "'{}' has no comment that begins with `# -- `",
                path.join(".")
            );
            continue;
        }
        found.push(read(path, &std::mem::take(&mut comment))?);
        within = Some(indent);
    }
    Ok(found)
}

fn read(path: Vec<String>, comment: &[&str]) -> anyhow::Result<Setting> {
    let (defaults, words): (Vec<&str>, Vec<&str>) =
        comment.iter().partition(|line| line.starts_with("@default -- "));
    let meaning = words.join(" ");
    let meaning = meaning
        .strip_prefix("-- ")
        .with_context(|| format!("the comment of '{}' does not begin with `# -- `", path.join(".")))?;
    Ok(Setting {
        meaning: meaning.to_owned(),
        default: defaults
            .first()
            .map(|line| line.trim_start_matches("@default -- ").to_owned()),
        path,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(values: &str) -> Vec<String> {
        let page = page(values).expect("the values are right");
        page.lines()
            .filter(|line| line.starts_with("| `"))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn each_setting_has_a_row_with_its_path_default_and_comment() {
        let values = "# -- One.\none: \"\"\n\ntwo:\n  # -- Of\n  # two lines | here.\n  in: 3\n  # -- Short.\n  # @default -- much\n  \
                      long:\n    a: 1\n    b: [2]\n# -- Last.\nlast: {}\n";
        assert_eq!(
            rows(values),
            [
                "| `one` | `\"\"` | One. |",
                "| `two.in` | `3` | Of two lines \\| here. |",
                "| `two.long` | much | Short. |",
                "| `last` | `{}` | Last. |",
            ]
        );
    }

    #[test]
    fn a_setting_without_a_comment_is_named() {
        for values in ["one: 1\n", "two:\n  in: 3\n", "# One.\none: 1\n"] {
            let error = page(values).expect_err("it has no comment").to_string();
            assert!(error.contains("one") || error.contains("two.in"), "{error}");
        }
    }
}

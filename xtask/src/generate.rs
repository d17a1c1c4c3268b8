//! `cargo xtask generate`: the files that are made from the code, and whether they are fresh.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::run::Workspace;
use crate::tidy::Finding;

/// A generated file.
struct Generated {
    path: &'static str,
    /// The operator's subcommand that prints it.
    printed_by: &'static str,
    /// What is done to what it prints.
    change: fn(&str) -> String,
}

/// All generated files that the operator prints: the one list.
const FILES: [Generated; 4] = [
    Generated {
        path: "crds/topologies.yaml",
        printed_by: "crd",
        change: str::to_owned,
    },
    Generated {
        path: "charts/waterspout/templates/crd.yaml",
        printed_by: "crd",
        change: chart_template,
    },
    Generated {
        path: "docs/reference/topology.md",
        printed_by: "reference",
        change: str::to_owned,
    },
    Generated {
        path: "charts/waterspout/files/operator-rules.yaml",
        printed_by: "rbac",
        change: str::to_owned,
    },
];

/// The settings of the chart, and the page that is made from them.
const VALUES: &str = "charts/waterspout/values.yaml";
const VALUES_PAGE: &str = "docs/reference/chart.md";

/// The whole workspace is named, so that libraries have the features that all of it needs, and are built once only.
const OPERATOR: [&str; 6] = [
    "build",
    "--release",
    "--locked",
    "--workspace",
    "--bin",
    "waterspout-operator",
];

/// The definition as a template of the chart: taken literally, and kept when the chart is uninstalled, since the users'
/// topologies would go with it.
fn chart_template(definition: &str) -> String {
    let literal = definition.replace("{{", "{{ \"{{\" }}");
    literal.replacen(
        "\nmetadata:\n",
        "\nmetadata:\n  annotations:\n    helm.sh/resource-policy: keep\n",
        1,
    )
}

/// Writes those that are not fresh.
pub(crate) fn generate(workspace: &Workspace) -> anyhow::Result<()> {
    for (path, content) in contents(workspace)? {
        let full = workspace.root.join(path);
        if is_fresh(&full, &content) {
            continue;
        }
        let folder = full.parent().unwrap_or(&workspace.root);
        fs::create_dir_all(folder).with_context(|| format!("make the folder of '{path}'"))?;
        fs::write(&full, content).with_context(|| format!("write '{path}'"))?;
        crate::run::say(&format!("wrote {path}"));
    }
    Ok(())
}

/// Finds those that are not fresh.
pub(crate) fn check(workspace: &Workspace) -> anyhow::Result<Vec<Finding>> {
    let contents = contents(workspace)?;
    let stale = contents
        .iter()
        .filter(|(path, content)| !is_fresh(&workspace.root.join(path), content));
    Ok(stale
        .map(|(path, _)| Finding::new(path, 1, "it is stale; run `cargo xtask generate`"))
        .collect())
}

fn is_fresh(path: &Path, content: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|there| there == content)
}

/// What each file should hold.
fn contents(workspace: &Workspace) -> anyhow::Result<Vec<(&'static str, String)>> {
    workspace.cargo(&OPERATOR).calm().pass_through()?;
    let target = workspace
        .target
        .clone()
        .unwrap_or_else(|| workspace.root.join("target"));
    let operator = target.join("release/waterspout-operator");
    let operator = operator
        .to_str()
        .context("the target folder's path is not UTF-8")?;
    let mut printed = BTreeMap::new();
    for file in &FILES {
        if !printed.contains_key(file.printed_by) {
            let text = workspace.program(operator, &[file.printed_by]).output()?;
            printed.insert(file.printed_by, text);
        }
    }
    let mut contents: Vec<(&str, String)> = FILES
        .iter()
        .map(|file| (file.path, (file.change)(&printed[file.printed_by])))
        .collect();
    let values = workspace.root.join(VALUES);
    let values = fs::read_to_string(&values).with_context(|| format!("read '{VALUES}'"))?;
    contents.push((VALUES_PAGE, crate::values::page(&values)?));
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chart_keeps_the_definition_and_takes_it_literally() {
        let definition =
            "# Generated.\nkind: X\nmetadata:\n  name: a\nspec:\n  metadata:\n    text: such as {{ name }}\n";
        let expected = "# Generated.\nkind: X\nmetadata:\n  annotations:\n    helm.sh/resource-policy: keep\n  name: a\n\
                        spec:\n  metadata:\n    text: such as {{ \"{{\" }} name }}\n";
        assert_eq!(chart_template(definition), expected);
    }
}

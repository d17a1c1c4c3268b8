//! `waterspout diff`: what applying a manifest would change.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use kube::ResourceExt;
use serde_json::json;
use similar::TextDiff;
use waterspout_api::resource::{ReleaseStrategy, TopologySpec};
use waterspout_core::graph::Graph;
use waterspout_core::succession::{Crossing, Heritage, succession};
use waterspout_worker::component::Components;

use super::{PlaceArgs, Session, say};
use crate::{Output, validate};

/// What a change makes.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    /// Nothing.
    None,
    /// The plan of the revision that runs.
    InPlace,
    /// A new revision, with these states.
    Revision(Vec<Heritage>),
}

/// Shows what applying a manifest would change.
pub(super) async fn diff(
    file: &Path,
    place: &PlaceArgs,
    components: &Components,
) -> anyhow::Result<ExitCode> {
    let manifest = validate::read(file, components).map_err(|error| anyhow!("{error}"))?;
    let wanted = manifest.topology();
    let mut place = place.clone();
    place.namespace = place.namespace.or_else(|| wanted.namespace());
    let session = Session::open(&place).await?;
    let name = wanted.name_any();
    let found = session.topologies().get_opt(&name).await;
    let found = found.map_err(|error| session.refused(&format!("read topology '{name}'"), error))?;
    let Some(found) = found else {
        match session.output {
            Output::Text => say(&format!("topology '{name}' would be made"))?,
            Output::Json => say(&json!({"topology": name, "change": "New"}).to_string())?,
        }
        return Ok(ExitCode::from(1));
    };
    let change = change(&found.spec, &wanted.spec)?;
    match session.output {
        Output::Text => say(&in_words(&name, &found.spec, &wanted.spec, &change)?)?,
        Output::Json => {
            let (word, states) = match &change {
                Change::None => ("None", &[][..]),
                Change::InPlace => ("InPlace", &[][..]),
                Change::Revision(states) => ("Revision", &states[..]),
            };
            let states: Vec<_> = states
                .iter()
                .map(|heritage| json!({"component": heritage.component, "state": fate(heritage)}))
                .collect();
            say(&json!({"topology": name, "change": word, "states": states}).to_string())?;
        }
    }
    Ok(match change {
        Change::None => ExitCode::SUCCESS,
        Change::InPlace | Change::Revision(_) => ExitCode::from(1),
    })
}

fn change(before: &TopologySpec, after: &TopologySpec) -> anyhow::Result<Change> {
    if before == after {
        return Ok(Change::None);
    }
    let graphs = (before.graph_spec()?, after.graph_spec()?);
    if graphs.0.is_but_for_numbers(&graphs.1) && pods(before) == pods(after) {
        return Ok(Change::InPlace);
    }
    // Numbers of tasks change once the new revision runs.
    let new = Graph::parse(graphs.1.numbered_as(&graphs.0))
        .map_err(|_| anyhow!("the manifest's graph is wrong"))?;
    let states = match before.graph() {
        Ok(old) => succession(&old, &new),
        // It never ran.
        Err(_) => Vec::new(),
    };
    Ok(Change::Revision(states))
}

/// What a spec says of the workers that makes a revision.
fn pods(spec: &TopologySpec) -> impl PartialEq {
    let workers = &spec.workers;
    (
        workers.image.clone(),
        workers.resources.clone(),
        workers.template.clone(),
    )
}

fn fate(heritage: &Heritage) -> String {
    match heritage.crossing {
        Crossing::Stateless => "none".to_owned(),
        Crossing::TaskByTask => "goes on".to_owned(),
        Crossing::ByKey => "goes on, its keys divided anew".to_owned(),
        Crossing::Anew(reason) => format!("begins anew: {reason}"),
    }
}

fn in_words(
    name: &str,
    before: &TopologySpec,
    after: &TopologySpec,
    change: &Change,
) -> anyhow::Result<String> {
    let yaml = |spec: &TopologySpec| {
        // Through a value, since enums would be written with tags.
        let value = serde_json::to_value(spec).context("write the spec")?;
        serde_yaml::to_string(&value).context("write the spec as YAML")
    };
    let (old, new) = (yaml(before)?, yaml(after)?);
    let lines = TextDiff::from_lines(&old, &new);
    let mut text = lines
        .unified_diff()
        .header("in the cluster", "as the manifest says")
        .to_string();
    let verdict = match change {
        Change::None => format!("topology '{name}' would not change"),
        Change::InPlace => format!("topology '{name}' would change while it runs; nothing is started anew"),
        Change::Revision(states) => {
            let how = match after.release.strategy {
                ReleaseStrategy::BlueGreen => "beside the one that runs",
                ReleaseStrategy::Recreate => "after the one that runs; all states begin anew",
            };
            let mut verdict = format!("topology '{name}' would get a new revision, {how}");
            let kept = states
                .iter()
                .filter(|heritage| heritage.crossing != Crossing::Stateless);
            if after.release.strategy == ReleaseStrategy::BlueGreen {
                for heritage in kept {
                    verdict.push_str(&format!("\n  '{}' {}", heritage.component, fate(heritage)));
                }
            }
            verdict
        }
    };
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(&verdict);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(rate: u32, by: &str, workers: u32) -> TopologySpec {
        serde_json::from_value(json!({
            "workers": {"replicas": workers},
            "spouts": [{
                "name": "in", "generator": {"rate": rate, "shape": {"sequence": {}}}, "streams": [{"fields": [by]}],
            }],
            "bolts": [{
                "name": "count", "inputs": [{"from": "in", "fields": [by]}], "count": {"by": [by], "emit": "Never"},
            }],
        }))
        .expect("a spec")
    }

    #[test]
    fn numbers_change_in_place_and_code_makes_a_revision_that_says_what_it_goes_on_with() {
        let before = spec(1, "a", 2);
        let words = |after: &TopologySpec| {
            let change = change(&before, after).expect("both can be read");
            in_words("words", &before, after, &change).expect("it can be written")
        };
        assert_eq!(words(&before), "topology 'words' would not change");
        let more = words(&spec(1, "a", 3));
        assert!(more.contains("-  replicas: 2\n+  replicas: 3\n"), "{more}");
        assert!(
            more.ends_with("'words' would change while it runs; nothing is started anew"),
            "{more}"
        );
        let mut small = before.clone();
        small.workers.resources.limits = [("cpu".to_owned(), "1".to_owned())].into();
        let small = words(&small);
        assert!(
            small.contains("get a new revision") && small.contains("'count' goes on"),
            "{small}"
        );
        let mut tasks = spec(1, "a", 2);
        tasks.bolts[0].replicas = 5;
        let tasks = words(&tasks);
        assert!(
            tasks.ends_with("'words' would change while it runs; nothing is started anew"),
            "{tasks}"
        );
        let other = words(&spec(2, "b", 2));
        let verdict = "topology 'words' would get a new revision, beside the one that runs
  'in' goes on
  'count' begins anew: its settings make another state";
        assert!(other.ends_with(verdict), "{other}");
    }
}

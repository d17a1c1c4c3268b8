//! Rights that nobody used: what the chart lets operator and workers do, against the API server's audit log.
//!
//! Owns: the comparison. Leaves to others: the log, which is that of a run of all tests (`crate::test`). Invariant: whatever a run
//! of all tests never used is a fault, either of the chart, which gives it, or of the tests, which do not try it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::Value;

use super::places::Places;
use crate::run::{Workspace, say};

/// The release and the namespace of the tests.
const CHART: [&str; 6] = [
    "template",
    "waterspout",
    "charts/waterspout",
    "--namespace",
    "waterspout-system",
    "--kube-version=1.30.0",
];

/// Who has a right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Operator,
    Worker,
}

/// What may be done: a verb, and a resource with its group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    who: Who,
    verb: String,
    /// `GROUP/RESOURCE`, and `/SUBRESOURCE` if it is one.
    resource: String,
}

/// Fails if the chart gives rights that were not used since the log had so many bytes.
pub(super) fn check(workspace: &Workspace, places: &Places, since: u64) -> anyhow::Result<()> {
    let helm = places.program("helm");
    let rendered = workspace.program(&helm.to_string_lossy(), &CHART).output()?;
    let given = given(&rendered)?;
    let log = places.log().join("audit.log");
    let used = used(&log, since).with_context(|| format!("read '{}'", log.display()))?;
    let unused: Vec<String> = given
        .difference(&used)
        .map(|right| format!("{:?}: {} {}", right.who, right.verb, right.resource))
        .collect();
    if !unused.is_empty() {
        bail!(
            "rights that no test used; take them out of the chart (operator/src/owned.rs, charts/waterspout/templates), or test what \
             needs them:\n  {}",
            unused.join("\n  ")
        );
    }
    say(&format!(
        "each of {} rights of operator and workers was used",
        given.len()
    ));
    Ok(())
}

/// How long the log is now.
pub(super) fn mark(places: &Places) -> u64 {
    std::fs::metadata(places.log().join("audit.log")).map_or(0, |log| log.len())
}

/// The rights in the roles of a rendered chart.
fn given(rendered: &str) -> anyhow::Result<BTreeSet<Right>> {
    let mut given = BTreeSet::new();
    for text in rendered.split("\n---\n") {
        let object: Value = serde_yaml::from_str(text).context("read an object of the chart")?;
        if !["Role", "ClusterRole"].contains(&object["kind"].as_str().unwrap_or_default()) {
            continue;
        }
        let who = match object["metadata"]["labels"]["app.kubernetes.io/component"].as_str() {
            Some("operator") => Who::Operator,
            Some("worker") => Who::Worker,
            // Those of users.
            _ => continue,
        };
        for rule in list(&object["rules"]) {
            for (group, resource, verb) in product(rule) {
                given.insert(Right {
                    who,
                    verb: verb.to_owned(),
                    resource: format!("{group}/{resource}"),
                });
            }
        }
    }
    if given.is_empty() {
        bail!("the chart has no roles");
    }
    Ok(given)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn product(rule: &Value) -> Vec<(&str, &str, &str)> {
    let texts = |field: &str| -> Vec<&str> { list(&rule[field]).filter_map(Value::as_str).collect() };
    let mut all = Vec::new();
    for group in texts("apiGroups") {
        for resource in texts("resources") {
            all.extend(texts("verbs").into_iter().map(|verb| (group, resource, verb)));
        }
    }
    all
}

fn used(log: &Path, since: u64) -> anyhow::Result<BTreeSet<Right>> {
    let mut file = File::open(log)?;
    // A log that is shorter was begun anew.
    if file.metadata()?.len() >= since {
        file.seek(SeekFrom::Start(since))?;
    }
    let mut used = BTreeSet::new();
    for line in BufReader::new(file).lines() {
        let line = line?;
        // Most lines are of others.
        if line.contains("system:serviceaccount:")
            && let Ok(entry) = serde_json::from_str(&line)
        {
            used.extend(rights_of(&entry));
        }
    }
    Ok(used)
}

/// The rights that a request used.
fn rights_of(entry: &Value) -> Vec<Right> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let user = text(&entry["user"]["username"]);
    let Some(account) = user.strip_prefix("system:serviceaccount:") else {
        return Vec::new();
    };
    let who = if account.ends_with(":waterspout-operator") {
        Who::Operator
    } else if account.ends_with("-worker") {
        Who::Worker
    } else {
        return Vec::new();
    };
    let (about, code) = (&entry["objectRef"], &entry["responseStatus"]["code"]);
    let mut resource = format!("{}/{}", text(&about["apiGroup"]), text(&about["resource"]));
    if let Some(subresource) = about["subresource"].as_str() {
        resource = format!("{resource}/{subresource}");
    }
    let right = |verb: &str, resource: &str| Right {
        who,
        verb: verb.to_owned(),
        resource: resource.to_owned(),
    };
    let verb = text(&entry["verb"]);
    let mut rights = Vec::new();
    if code != 403 {
        rights.push(right(&verb, &resource));
    }
    if code == 201 {
        // An apply that makes an object takes the right to create it, and a binding the right to bind.
        rights.push(right("create", &resource));
        if resource == "rbac.authorization.k8s.io/rolebindings" {
            rights.push(right("bind", "rbac.authorization.k8s.io/clusterroles"));
        }
    }
    rights
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rights_that_are_given_are_each_verb_of_each_resource() {
        let role = |component: &str| {
            format!(
                "kind: ClusterRole\nmetadata: {{labels: {{app.kubernetes.io/component: {component}}}}}\nrules:\n\
                 - {{apiGroups: ['', apps], resources: [pods], verbs: [list, watch]}}\n"
            )
        };
        let rendered = [
            role("operator"),
            role("worker"),
            role("users"),
            "kind: Pod\n".to_owned(),
        ]
        .join("\n---\n");
        let given = given(&rendered).expect("it has roles");
        assert_eq!(given.len(), 8);
        assert!(
            given.iter().any(|right| right.who == Who::Worker
                && right.resource == "apps/pods"
                && right.verb == "watch")
        );
        assert!(super::given("kind: Pod\n").is_err());
    }

    #[test]
    fn what_a_request_used_is_known_by_its_answer() {
        let request = |account: &str, verb: &str, resource: &str, subresource: Value, code: u64| {
            rights_of(&json!({
                "user": {"username": format!("system:serviceaccount:{account}")},
                "verb": verb,
                "objectRef": {"apiGroup": "rbac.authorization.k8s.io", "resource": resource, "subresource": subresource},
                "responseStatus": {"code": code},
            }))
        };
        let operator = "waterspout-system:waterspout-operator";
        let verbs = |rights: Vec<Right>| rights.into_iter().map(|right| right.verb).collect::<Vec<_>>();
        let none = Value::Null;
        assert_eq!(
            verbs(request(operator, "patch", "rolebindings", none.clone(), 200)),
            ["patch"]
        );
        assert_eq!(
            verbs(request(operator, "patch", "rolebindings", none.clone(), 201)),
            ["patch", "create", "bind"]
        );
        assert!(request(operator, "get", "rolebindings", none.clone(), 403).is_empty());
        assert!(request("kube-system:other", "get", "rolebindings", none.clone(), 200).is_empty());
        let worker = request(
            "default:words-worker",
            "patch",
            "topologies",
            json!("status"),
            200,
        );
        assert_eq!(worker[0].resource, "rbac.authorization.k8s.io/topologies/status");
        assert_eq!(worker[0].who, Who::Worker);
        let admin = json!({"user": {"username": "admin"}, "verb": "get"});
        assert!(rights_of(&admin).is_empty());
    }
}

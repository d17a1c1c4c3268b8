//! Succession: what of one graph's state another graph takes over.
//!
//! Owns: the rule by which a component of the new graph is the same as one of the old graph, and which task's state goes to
//! which task. Leaves to others: when this happens ([`crate::epoch`]), the states themselves. Pure.
//!
//! A count whose number of tasks changes crosses key by key, if its input is grouped by what it counts: each new task reads the
//! states of all old tasks that had some of its key groups, and keeps its own keys.
//!
//! A state crosses if name, role, kind and state version are the same, and so is whatever else its meaning depends on:
//! the fields that are counted, the files that are read, how keys are divided among the tasks.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use crate::component::{count, file, generator, rust, script};
use crate::epoch::Handing;
use crate::graph::{Component, Graph, Grouping, Role, TaskId};
use crate::hash::{KEY_GROUPS, owner};

/// What becomes of the state of a component of the old graph, or of one that only the new graph has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heritage {
    /// The component's name.
    pub component: String,
    /// What becomes of its state.
    pub crossing: Crossing,
}

/// What becomes of a component's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crossing {
    /// There is none here: it has none, or it is with the source.
    Stateless,
    /// Each task goes on with the state of the task of the same number.
    TaskByTask,
    /// Each task goes on with its keys, wherever they were.
    ByKey,
    /// It begins anew, for this reason.
    Anew(Reason),
}

/// Why a state does not cross.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Only the new graph has the component.
    New,
    /// The new graph has no such component.
    Removed,
    /// It is something else under the same name.
    OtherKind,
    /// The manifest says so.
    OtherVersion,
    /// What its settings say of the state has changed.
    OtherSettings,
    /// Keys are divided among its tasks in another way.
    OtherGrouping,
    /// It has another number of tasks.
    OtherReplicas,
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::New => "it is new",
            Self::Removed => "it is gone",
            Self::OtherKind => "it is of another kind",
            Self::OtherVersion => "its 'stateVersion' is another one",
            Self::OtherSettings => "its settings make another state",
            Self::OtherGrouping => "its inputs are grouped in another way",
            Self::OtherReplicas => "its 'replicas' has changed",
        })
    }
}

/// What becomes of each component's state: those of the new graph in their order, then those that are gone.
pub fn succession(old: &Graph, new: &Graph) -> Vec<Heritage> {
    let heritage = |component: &Component, crossing| Heritage {
        component: component.name.clone(),
        crossing,
    };
    let comes = new
        .components()
        .iter()
        .map(|component| heritage(component, crossing(old, new, component)));
    let goes = old
        .components()
        .iter()
        .filter(|old| new.find(&old.name).is_none());
    let goes = goes.map(|component| {
        let crossing = if keeps_state(component) {
            Crossing::Anew(Reason::Removed)
        } else {
            Crossing::Stateless
        };
        heritage(component, crossing)
    });
    comes.chain(goes).collect()
}

/// A state that goes from a task of the old graph to one of the new graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heir {
    /// The task of the new graph.
    pub task: TaskId,
    /// The task of the old graph.
    pub of: TaskId,
    /// Whether only some of its keys are the new task's.
    pub by_key: bool,
}

/// Which tasks of the old graph hand their states to which of the new one.
pub fn heirs(old: &Graph, new: &Graph) -> Vec<Heir> {
    let mut heirs = Vec::new();
    for component in new.components() {
        let Some(before) = old.find(&component.name) else {
            continue;
        };
        let (tasks, befores) = (new.tasks_of(component.id), old.tasks_of(before.id));
        let heir = |task, of, by_key| Heir {
            task: TaskId(task),
            of: TaskId(of),
            by_key,
        };
        match crossing(old, new, component) {
            Crossing::TaskByTask => heirs.extend(tasks.zip(befores).map(|(task, of)| heir(task, of, false))),
            Crossing::ByKey => {
                let groups = 0..KEY_GROUPS;
                let (count, count_before) = (component.replicas, before.replicas);
                let pairs: BTreeSet<(u32, u32)> = groups
                    .map(|group| (owner(group, count), owner(group, count_before)))
                    .collect();
                let (first, first_before) = (tasks.start, befores.start);
                heirs.extend(
                    pairs
                        .into_iter()
                        .map(|(task, of)| heir(first + task, first_before + of, true)),
                );
            }
            Crossing::Stateless | Crossing::Anew(_) => {}
        }
    }
    heirs
}

/// What the tasks of each component hand to those that come after them when their number changes and nothing else.
pub fn handing(graph: &Graph) -> Vec<Handing> {
    let handing = |component: &Component| {
        if !keeps_state(component) {
            Handing::Nothing
        } else if component.role == Role::Bolt && is_divided_by_key(graph, component) {
            Handing::Keys
        } else {
            Handing::All
        }
    };
    graph.components().iter().map(handing).collect()
}

fn crossing(old: &Graph, new: &Graph, component: &Component) -> Crossing {
    if !keeps_state(component) {
        return Crossing::Stateless;
    }
    let Some(before) = old.find(&component.name) else {
        return Crossing::Anew(Reason::New);
    };
    let reason = if (before.role, &before.kind) != (component.role, &component.kind) {
        Reason::OtherKind
    } else if before.state_version != component.state_version {
        Reason::OtherVersion
    } else if meaning(before) != meaning(component) {
        Reason::OtherSettings
    } else if before.replicas != component.replicas {
        if is_divided_by_key(old, before) && is_divided_by_key(new, component) {
            return Crossing::ByKey;
        }
        Reason::OtherReplicas
    } else if component.replicas > 1 && groupings(old, before) != groupings(new, component) {
        Reason::OtherGrouping
    } else {
        return Crossing::TaskByTask;
    };
    Crossing::Anew(reason)
}

/// Whether each key of what the component keeps is with the task that the key's group belongs to.
fn is_divided_by_key(graph: &Graph, component: &Component) -> bool {
    let names = component.config.get("by").and_then(Value::as_array);
    let names = names.into_iter().flatten().filter_map(Value::as_str);
    let by: Vec<String> = names.map(str::to_owned).collect();
    component.kind == count::KIND && groupings(graph, component) == [format!("fields {by:?}")]
}

/// Whether tasks of this kind hold anything that outlives a tuple. What a source keeps is with the source.
fn keeps_state(component: &Component) -> bool {
    let kind = component.kind.as_str();
    let has_code = [rust::KIND, script::KIND, script::COMMAND].contains(&kind);
    has_code
        || match component.role {
            Role::Spout => [file::KIND, generator::KIND].contains(&kind),
            Role::Bolt => kind == count::KIND,
        }
}

/// The settings that say what the state means. Of code it is the state version that does.
fn meaning(component: &Component) -> Value {
    let setting = |name: &str| component.config.get(name).cloned().unwrap_or_default();
    match component.kind.as_str() {
        rust::KIND => setting("component"),
        script::KIND | script::COMMAND => Value::Null,
        count::KIND => setting("by"),
        generator::KIND => {
            let mut config = component.config.clone();
            if let Some(config) = config.as_object_mut() {
                config.remove("rate");
                config.remove("count");
            }
            config
        }
        _ => component.config.clone(),
    }
}

/// How tuples choose among the component's tasks, each way once: by the names of fields, since their positions are the
/// streams' business.
fn groupings(graph: &Graph, component: &Component) -> Vec<String> {
    let names = |edge: &crate::graph::Edge, fields: &[usize]| {
        let stream = graph.stream(edge.stream);
        let names = fields.iter().filter_map(|&field| stream.fields.get(field));
        names.cloned().collect::<Vec<_>>()
    };
    let mut ways: Vec<String> = graph
        .edges_into(component.id)
        .map(|edge| match &edge.grouping {
            Grouping::Fields(fields) => format!("fields {:?}", names(edge, fields)),
            Grouping::PartialKey(fields) => format!("partialKey {:?}", names(edge, fields)),
            grouping => format!("{grouping:?}"),
        })
        .collect();
    ways.sort_unstable();
    ways.dedup();
    ways
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::graph::GraphSpec;

    fn graph(change: impl FnOnce(&mut Value)) -> Graph {
        let mut spec = json!({"components": [
            {"name": "in", "role": "Spout", "kind": "generator", "replicas": 2,
             "config": {"rate": 5, "shape": {"sequence": {}}}, "streams": [{"name": "default", "fields": ["key"]}]},
            {"name": "count", "role": "Bolt", "kind": "count", "replicas": 3, "config": {"by": ["key"]},
             "inputs": [{"from": "in", "stream": "default", "grouping": {"fields": ["key"]}}],
             "streams": [{"name": "default", "fields": ["key", "count"]}]},
            {"name": "out", "role": "Bolt", "kind": "stdout", "replicas": 1, "config": {},
             "inputs": [{"from": "count", "stream": "default", "grouping": "global"}]},
        ]});
        change(&mut spec);
        let spec: GraphSpec = serde_json::from_value(spec).expect("a graph");
        Graph::parse(spec).expect("it is right")
    }

    type Change = fn(&mut Value);

    #[test]
    fn what_crosses_depends_on_what_the_state_means() {
        use Crossing::{Anew, ByKey, Stateless, TaskByTask};
        let old = graph(|_| {});
        let cases: [(Change, [Crossing; 3]); 11] = [
            (|_| {}, [TaskByTask, TaskByTask, Stateless]),
            (
                |spec| spec["components"][0]["config"]["rate"] = 9.into(),
                [TaskByTask, TaskByTask, Stateless],
            ),
            (
                |spec| spec["components"][1]["config"]["emit"] = "Never".into(),
                [TaskByTask, TaskByTask, Stateless],
            ),
            (
                |spec| spec["components"][0]["config"]["shape"] = json!({"words": {}}),
                [Anew(Reason::OtherSettings), TaskByTask, Stateless],
            ),
            (
                |spec| spec["components"][1]["config"]["by"] = json!(["other"]),
                [TaskByTask, Anew(Reason::OtherSettings), Stateless],
            ),
            (
                |spec| spec["components"][1]["replicas"] = 4.into(),
                [TaskByTask, ByKey, Stateless],
            ),
            (
                |spec| spec["components"][0]["replicas"] = 4.into(),
                [Anew(Reason::OtherReplicas), TaskByTask, Stateless],
            ),
            (
                |spec| {
                    spec["components"][1]["replicas"] = 4.into();
                    spec["components"][1]["inputs"][0]["grouping"] = "shuffle".into();
                },
                [TaskByTask, Anew(Reason::OtherReplicas), Stateless],
            ),
            (
                |spec| spec["components"][1]["inputs"][0]["grouping"] = "shuffle".into(),
                [TaskByTask, Anew(Reason::OtherGrouping), Stateless],
            ),
            (
                |spec| spec["components"][1]["stateVersion"] = 2.into(),
                [TaskByTask, Anew(Reason::OtherVersion), Stateless],
            ),
            (
                |spec| spec["components"][0]["kind"] = "file".into(),
                [Anew(Reason::OtherKind), TaskByTask, Stateless],
            ),
        ];
        for (change, expected) in cases {
            let new = graph(change);
            let found: Vec<Crossing> = succession(&old, &new)
                .into_iter()
                .map(|heritage| heritage.crossing)
                .collect();
            assert_eq!(found, expected, "{:?}", new.spec());
        }
    }

    #[test]
    fn tasks_are_paired_by_their_place_in_the_component() {
        let old = graph(|_| {});
        let new = graph(|spec| {
            let components = spec["components"].as_array_mut().expect("a list");
            let mut more = components[0].clone();
            more["name"] = "more".into();
            components.insert(0, more);
            // Nobody reads it otherwise.
            components[2]["inputs"]
                .as_array_mut()
                .expect("a list")
                .push(json!({"from": "more", "stream": "default", "grouping": {"fields": ["key"]}}));
        });
        let pairs: Vec<(u32, u32)> = heirs(&old, &new)
            .into_iter()
            .map(|heir| (heir.task.0, heir.of.0))
            .collect();
        assert_eq!(pairs, [(2, 0), (3, 1), (4, 2), (5, 3), (6, 4)]);
        assert_eq!(succession(&old, &new)[0].crossing, Crossing::Anew(Reason::New));
        assert_eq!(
            succession(&new, &old).last().map(|last| last.crossing),
            Some(Crossing::Anew(Reason::Removed))
        );
    }

    #[test]
    fn keys_go_to_the_tasks_that_own_them_whatever_the_numbers() {
        let with = |replicas: u32| graph(|spec| spec["components"][1]["replicas"] = replicas.into());
        for (before, after) in [(3, 4), (4, 3), (1, 5), (5, 1), (2, 1024)] {
            let (old, new) = (with(before), with(after));
            let heirs = heirs(&old, &new);
            for group in 0..KEY_GROUPS {
                let (task, of) = (2 + owner(group, after), 2 + owner(group, before));
                let heir = Heir {
                    task: TaskId(task),
                    of: TaskId(of),
                    by_key: true,
                };
                assert!(heirs.contains(&heir), "{before} to {after}: {group}");
            }
            assert!(heirs.len() as u32 <= 2 + before + after);
        }
    }
}

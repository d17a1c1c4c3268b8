//! Graphs, groupings, plans and the finish.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::collections::HashMap;

use proptest::prelude::*;
use serde_json::json;
use waterspout_core::epoch::{Epoch, Member};
use waterspout_core::finish::{self, FinishStep, TaskState};
use waterspout_core::graph::{
    ComponentId, ComponentSpec, Graph, GraphSpec, Grouping, GroupingSpec, InputSpec, Role, StreamSpec,
};
use waterspout_core::placement::WorkerIndex;
use waterspout_core::plan::{Delivery, PLAN_VERSION, ParsedPlan, Plan, PlanError};
use waterspout_core::routing::{Router, Target};
use waterspout_core::value::{Row, Value};

fn component(name: &str, role: Role, inputs: &[&str], fields: &[&str]) -> ComponentSpec {
    let input = |from: &&str| {
        let (from, grouping) = match from.split_once('/') {
            Some((from, "global")) => (from, GroupingSpec::Global),
            Some((from, "all")) => (from, GroupingSpec::All),
            Some((from, field)) => (from, GroupingSpec::Fields(vec![field.to_owned()])),
            None => (*from, GroupingSpec::Shuffle),
        };
        InputSpec {
            from: from.to_owned(),
            stream: "default".to_owned(),
            grouping,
        }
    };
    ComponentSpec {
        name: name.to_owned(),
        role,
        kind: "test".to_owned(),
        config: json!({}),
        replicas: 2,
        tick_every_ms: None,
        state_version: 1,
        inputs: inputs.iter().map(input).collect(),
        streams: if fields.is_empty() {
            Vec::new()
        } else {
            vec![StreamSpec {
                name: "default".to_owned(),
                fields: fields.iter().map(|field| (*field).to_owned()).collect(),
                direct: false,
            }]
        },
    }
}

fn spout(name: &str, fields: &[&str]) -> ComponentSpec {
    component(name, Role::Spout, &[], fields)
}

fn bolt(name: &str, inputs: &[&str], fields: &[&str]) -> ComponentSpec {
    component(name, Role::Bolt, inputs, fields)
}

fn faults(components: Vec<ComponentSpec>) -> Vec<String> {
    Graph::parse(GraphSpec { components })
        .map(drop)
        .unwrap_err()
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn word_count() -> GraphSpec {
    GraphSpec {
        components: vec![
            spout("lines", &["line"]),
            bolt("split", &["lines"], &["word"]),
            bolt("count", &["split/word"], &["word", "count"]),
            bolt("out", &["count/global"], &[]),
        ],
    }
}

#[test]
fn a_graph_numbers_components_streams_and_tasks_without_a_gap() {
    let graph = Graph::parse(word_count()).unwrap();
    assert_eq!(graph.task_count(), 8);
    assert_eq!(graph.tasks_of(ComponentId(2)), 4..6);
    let count = graph.find("count").unwrap();
    assert_eq!(
        graph.edges_into(count.id).next().unwrap().grouping,
        Grouping::Fields(vec![0])
    );
    assert_eq!(
        graph.edges_from(count.streams[0])[0].to,
        graph.find("out").unwrap().id
    );
    let stages: Vec<_> = graph.stages().iter().map(|stage| stage[0].0).collect();
    assert_eq!(stages, [0, 1, 2, 3]);
}

#[test]
fn faults_name_their_place_and_what_to_do_and_all_are_found() {
    assert_eq!(faults(vec![]), ["spec: a topology needs at least one spout"]);
    assert_eq!(
        faults(vec![
            spout("lines", &["line"]),
            bolt("count", &["splitt/word", "lines/lime"], &["word", "word"])
        ]),
        [
            "bolts[0].streams[0].fields: the field 'word' is named twice",
            "bolts[0].inputs[0].from: there is no component 'splitt'",
            "bolts[0].inputs[1].fields: the stream has no field 'lime'; did you mean 'line'?",
        ]
    );
    assert_eq!(
        faults(vec![
            spout("a", &["x"]),
            spout("a", &["x"]),
            bolt("b", &["a", "a"], &[])
        ]),
        [
            "spouts[1].name: the name 'a' is taken by another component; names are unique in a topology",
            "bolts[0].inputs[1].from: this stream is an input of the bolt already",
        ]
    );
    assert_eq!(
        faults(vec![
            spout("in", &["x"]),
            bolt("b", &["in"], &[]),
            bolt("loop", &["loop"], &["x"])
        ]),
        [
            "bolts[1].inputs: no spout reaches the bolt 'loop'; connect its inputs to something that comes from a spout"
        ]
    );
    assert_eq!(
        faults(vec![
            spout("in", &["x"]),
            spout("dull", &["x"]),
            bolt("b", &["in"], &[])
        ]),
        ["spouts[1].name: nothing reads the spout 'dull'; add it to the inputs of a bolt"]
    );
    let mut many = bolt("__b", &["in"], &[]);
    many.replicas = 0;
    let mut fed = spout("in", &["x"]);
    fed.inputs = vec![InputSpec {
        from: "in".into(),
        stream: "other".into(),
        grouping: GroupingSpec::Shuffle,
    }];
    assert_eq!(
        faults(vec![fed, many]),
        [
            "spouts[0].inputs: a spout has no inputs; make 'in' a bolt, or remove them",
            "spouts[0].inputs[0].stream: the component 'in' has no stream 'other'",
            "bolts[0].name: '__b' starts with '__', which is kept for the system; take another name",
            "bolts[0].replicas: 0 replicas cannot be; use 1 to 1024",
        ]
    );
}

#[test]
fn a_direct_stream_is_read_directly_and_no_other_is() {
    let mut sender = spout("in", &["x"]);
    sender.streams[0].direct = true;
    let read = |grouping: GroupingSpec| {
        let mut reader = bolt("b", &["in"], &[]);
        reader.inputs[0].grouping = grouping;
        reader
    };
    assert_eq!(
        faults(vec![sender.clone(), read(GroupingSpec::Shuffle)]),
        ["bolts[0].inputs[0].from: the stream 'default' of 'in' is direct; read it with `direct: {}`"]
    );
    assert_eq!(
        faults(vec![spout("in", &["x"]), read(GroupingSpec::Direct)]),
        [
            "bolts[0].inputs[0].direct: the stream 'default' of 'in' is not direct; declare it with `direct: true`, or take another grouping"
        ]
    );
    assert!(
        Graph::parse(GraphSpec {
            components: vec![sender, read(GroupingSpec::Direct)]
        })
        .is_ok()
    );
    assert_eq!(
        faults(vec![
            spout("in", &["x"]),
            read(GroupingSpec::PartialKey(vec!["y".into()]))
        ]),
        ["bolts[0].inputs[0].partialKey: the stream has no field 'y'; did you mean 'x'?"]
    );
}

#[test]
fn cycles_are_legal_and_known() {
    let graph = Graph::parse(GraphSpec {
        components: vec![
            spout("in", &["x"]),
            bolt("a", &["in", "b"], &["x"]),
            bolt("b", &["a"], &["x"]),
            bolt("self", &["b", "self"], &["x"]),
            bolt("out", &["self"], &[]),
        ],
    })
    .unwrap();
    let id = |name: &str| graph.find(name).unwrap().id;
    assert!(graph.in_same_cycle(id("a"), id("b")) && graph.in_same_cycle(id("a"), id("a")));
    assert!(graph.in_same_cycle(id("self"), id("self")));
    assert!(!graph.in_same_cycle(id("out"), id("out")) && !graph.in_same_cycle(id("b"), id("self")));
    let position = |name: &str| {
        graph
            .stages()
            .iter()
            .position(|stage| stage.contains(&id(name)))
            .unwrap()
    };
    assert!(
        position("in") < position("a")
            && position("b") < position("self")
            && position("self") < position("out")
    );
}

proptest! {
    #[test]
    fn fields_grouping_sends_equal_keys_to_one_task(keys in prop::collection::vec("[a-f]{0,3}", 1..200), tasks in 1u32..50, senders in 1u32..4) {
        let mut routers: Vec<_> = (0..senders).map(|sender| Router::new(&Grouping::Fields(vec![1]), tasks, 5, sender)).collect();
        let mut seen: HashMap<String, Target> = HashMap::new();
        for (number, key) in keys.iter().enumerate() {
            let row = [Value::Int(number as i64).encode(), Value::from(key.as_str()).encode()].concat();
            let target = routers[number % senders as usize].route(Row::new(&row));
            prop_assert!(matches!(target, Target::One(task) if task < tasks));
            prop_assert_eq!(*seen.entry(key.clone()).or_insert(target), target);
        }
    }

    #[test]
    fn shuffle_is_even_and_goes_round_tasks_that_are_away(tasks in 1u32..20, away in prop::collection::btree_set(0u32..20, 0..20), rounds in 1usize..5) {
        let mut router = Router::new(&Grouping::Shuffle, tasks, 0, 3);
        router.avoid(|task| away.contains(&task));
        let mut present: Vec<u32> = (0..tasks).filter(|task| !away.contains(task)).collect();
        if present.is_empty() {
            present = (0..tasks).collect();
        }
        let mut hits: HashMap<u32, usize> = HashMap::new();
        for _ in 0..rounds * present.len() {
            if let Target::One(task) = router.route(Row::new(&[0])) {
                *hits.entry(task).or_default() += 1;
            }
        }
        prop_assert_eq!(hits.len(), present.len());
        prop_assert!(hits.iter().all(|(task, times)| present.contains(task) && *times == rounds));
    }

    /// Random acyclic graphs whose tasks do what they are asked, some of which die and start again.
    #[test]
    fn bounded_topologies_finish_stage_by_stage_whatever_restarts(
        edges in prop::collection::vec((0usize..6, 1usize..6), 1..12),
        restarts in prop::collection::vec((0usize..40, any::<prop::sample::Index>()), 0..6),
    ) {
        let names = ["a", "b", "c", "d", "e", "f"];
        let mut components = vec![spout("in", &["x"]), bolt("a", &["in"], &["x"])];
        for (index, name) in names.iter().enumerate().skip(1) {
            let from: Vec<&str> = edges.iter().filter(|edge| edge.1 == index && edge.0 < index).map(|edge| names[edge.0]).collect();
            let mut from = if from.is_empty() { vec!["in"] } else { from };
            from.sort_unstable();
            from.dedup();
            components.push(bolt(name, &from, &["x"]));
        }
        let graph = Graph::parse(GraphSpec { components }).unwrap();
        let mut states = vec![TaskState::Running; graph.task_count() as usize];
        let mut complete = false;
        for step in 0..100 {
            for task in graph.tasks_of(ComponentId(0)) {
                states[task as usize] = TaskState::Drained;
            }
            for state in &mut states {
                if *state == TaskState::Finishing {
                    *state = TaskState::Finished;
                }
            }
            match finish::next(&graph, &states) {
                FinishStep::Complete => { complete = true; break; }
                FinishStep::Wait => {}
                FinishStep::Finish(asked) => for component in asked {
                    for edge in graph.edges_into(component) {
                        let done = graph.tasks_of(edge.from).all(|task| matches!(states[task as usize], TaskState::Drained | TaskState::Finished));
                        prop_assert!(done, "asked before all input had ended");
                    }
                    for task in graph.tasks_of(component) {
                        if states[task as usize] == TaskState::Running {
                            states[task as usize] = TaskState::Finishing;
                        }
                    }
                },
            }
            for (at, task) in &restarts {
                if *at == step {
                    let task = task.index(states.len());
                    states[task] = TaskState::Running;
                }
            }
        }
        prop_assert!(complete);
    }
}

fn plan() -> Plan {
    let member = |index| Member {
        index: WorkerIndex(index),
        uid: u64::from(index) + 10,
        since: Epoch(3),
    };
    Plan {
        version: PLAN_VERSION,
        topology: "wordcount".to_owned(),
        revision: "6f4c".to_owned(),
        epoch: Epoch(3),
        graph: word_count(),
        delivery: Delivery::default(),
        members: vec![member(0), member(1)],
        coordinator: WorkerIndex(0),
        ask: vec![member(0), member(1)],
        given_up: vec![WorkerIndex(2)],
        placement: (0..8).map(|task| WorkerIndex(task % 2)).collect(),
        active: true,
        hash_seed: 0,
        rests: false,
        inherits: None,
        numbers_since: Epoch(0),
        ancestors: Vec::new(),
        complete: false,
    }
}

/// To renew it on purpose: `UPDATE_GOLDEN=1 cargo xtask test golden`.
#[test]
fn the_plan_is_written_as_the_golden_one() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/plan.json");
    let json = plan().to_json() + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &json).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(&path).unwrap_or_default(),
        json,
        "'plan.json' is stale"
    );
    assert_eq!(*ParsedPlan::from_json(json.as_bytes()).unwrap().plan(), plan());
}

#[test]
fn plans_that_cannot_be_used_say_why() {
    let error = |change: &dyn Fn(&mut Plan)| {
        let mut plan = plan();
        change(&mut plan);
        ParsedPlan::from_json(plan.to_json().as_bytes())
            .map(drop)
            .unwrap_err()
            .to_string()
    };
    assert!(error(&|plan| plan.version = 2).contains("version 2, this worker reads 1"));
    assert!(error(&|plan| plan.placement.truncate(7)).contains("places 7 tasks of 8"));
    assert!(error(&|plan| plan.placement[0] = WorkerIndex(9)).contains("worker 9, which is no member"));
    assert!(error(&|plan| plan.coordinator = WorkerIndex(9)).contains("coordinator 9 is no member"));
    assert!(error(&|plan| plan.members[1].index = WorkerIndex(0)).contains("no member"));
    assert!(error(&|plan| plan.given_up = vec![WorkerIndex(1)]).contains("asked and given up"));
    assert!(error(&|plan| plan.graph.components.clear()).contains("at least one spout"));
    assert!(matches!(
        ParsedPlan::from_json(b"{\"version\": 1}"),
        Err(PlanError::Parse(_))
    ));
    assert!(matches!(
        ParsedPlan::from_json(b"no plan"),
        Err(PlanError::Parse(_))
    ));
    let unknown = plan().to_json().replacen("\"epoch\"", "\"epoque\"", 1);
    assert!(matches!(
        ParsedPlan::from_json(unknown.as_bytes()),
        Err(PlanError::Parse(_))
    ));
}

//! Bolts and graphs that the cases share.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value as Json, json};
use waterspout_core::graph::{ComponentSpec, GraphSpec, GroupingSpec, InputSpec, Role, StreamSpec};
use waterspout_core::plan::Delivery;
use waterspout_core::value::Value;
use waterspout_worker::component::state::Keyed;
use waterspout_worker::component::{
    Bolt, ComponentError, Components, Context, Emit, FieldIndex, Held, Patience, Tuple,
};
use waterspout_worker::kit::Kit;

/// Emits each tuple `times` times.
pub(crate) struct Branch {
    times: usize,
}

impl Bolt for Branch {
    fn execute(&mut self, tuple: Tuple<'_>, out: &mut impl Emit) -> Result<(), ComponentError> {
        for _ in 0..self.times {
            out.emit(0, |row| {
                row.encoded(tuple.row.as_bytes(), 1);
            })?;
        }
        Ok(())
    }
}

/// Holds tuples until there are `count`, then emits their sum, anchored to all, and acks them.
pub(crate) struct Aggregate {
    count: usize,
    held: Vec<(Held, i64)>,
}

impl Bolt for Aggregate {
    fn execute(&mut self, tuple: Tuple<'_>, out: &mut impl Emit) -> Result<(), ComponentError> {
        let number = tuple.row.int(0).unwrap_or_default();
        self.held.push((out.hold(Patience::Renewed), number));
        if self.held.len() == self.count {
            let anchors: Vec<&Held> = self.held.iter().map(|(held, _)| held).collect();
            let sum = self.held.iter().map(|(_, number)| number).sum();
            out.emit_anchored(&anchors, 0, |row| {
                row.int(sum);
            })?;
            for (held, _) in self.held.drain(..) {
                out.ack(held);
            }
        }
        Ok(())
    }

    fn forget(&mut self) {
        self.held.clear();
    }
}

/// Does what the tuple says: `hold`, `renew` all that is held, `ack` or `fail` or `drop` the oldest held one, `fail me`,
/// `twice` (emit anchored to this tuple twice), `free` (emit unanchored), or just ack.
#[derive(Default)]
pub(crate) struct Obey {
    patience: Option<Patience>,
    held: Vec<Held>,
    on_tick: bool,
}

impl Bolt for Obey {
    fn execute(&mut self, tuple: Tuple<'_>, out: &mut impl Emit) -> Result<(), ComponentError> {
        let order = tuple.row.text(0).unwrap_or_default();
        let oldest = |held: &mut Vec<Held>| (!held.is_empty()).then(|| held.remove(0));
        match order {
            "hold" => {
                let held = out.hold(self.patience.unwrap_or(Patience::Renewed));
                self.held.push(held);
            }
            "renew" => self.held.iter().for_each(|held| out.renew(held)),
            "ack" => oldest(&mut self.held).into_iter().for_each(|held| out.ack(held)),
            "fail" => oldest(&mut self.held)
                .into_iter()
                .for_each(|held| out.fail_held(held)),
            "drop" => drop(oldest(&mut self.held)),
            "fail me" => out.fail(),
            "twice" => {
                let held = out.hold(Patience::TimesOut);
                out.emit_anchored(&[&held, &held], 0, |row| {
                    row.text("twice");
                })?;
                out.ack(held);
            }
            "free" => out.emit_unanchored(0, |row| {
                row.text("free");
            })?,
            _ => {}
        }
        Ok(())
    }

    fn tick(&mut self, out: &mut impl Emit) -> Result<(), ComponentError> {
        if self.on_tick {
            self.held.drain(..).for_each(|held| out.ack(held));
        }
        out.emit(0, |row| {
            row.text("tick");
        })
    }

    fn max_held(&self) -> usize {
        3
    }

    fn forget(&mut self) {
        self.held.clear();
    }
}

/// Acks every other tuple, and keeps the others for good.
#[derive(Default)]
pub(crate) struct AckEveryOther {
    count: u64,
    kept: Vec<Held>,
}

impl Bolt for AckEveryOther {
    fn execute(&mut self, _tuple: Tuple<'_>, out: &mut impl Emit) -> Result<(), ComponentError> {
        self.count += 1;
        if self.count.is_multiple_of(2) {
            self.kept.push(out.hold(Patience::TimesOut));
        }
        Ok(())
    }
}

/// Emits how many tuples it has seen.
#[derive(Default)]
pub(crate) struct GlobalCount(i64);

impl Bolt for GlobalCount {
    fn execute(&mut self, _tuple: Tuple<'_>, out: &mut impl Emit) -> Result<(), ComponentError> {
        self.0 += 1;
        let count = self.0;
        out.emit(0, |row| {
            row.int(count);
        })
    }
}

/// Adds `!!!`.
pub(crate) struct Exclaim;

impl Bolt for Exclaim {
    fn execute(&mut self, tuple: Tuple<'_>, out: &mut impl Emit) -> Result<(), ComponentError> {
        let word = format!("{}!!!", tuple.row.text(0).unwrap_or_default());
        out.emit(0, |row| {
            row.text(&word);
        })
    }
}

/// Sums the second field by the first, in keyed state, and emits the sum.
pub(crate) struct Sum {
    key: Vec<FieldIndex>,
    sums: Keyed<i64>,
}

impl Sum {
    fn new(context: &Context) -> Result<Self, ComponentError> {
        Ok(Self {
            key: vec![context.field("key")?],
            sums: Keyed::default(),
        })
    }
}

impl Bolt for Sum {
    fn execute(&mut self, tuple: Tuple<'_>, out: &mut impl Emit) -> Result<(), ComponentError> {
        let key = waterspout_worker::component::state::key_of(tuple, &self.key);
        let sum = self.sums.entry(&key);
        *sum += tuple.row.int(1).unwrap_or_default();
        let sum = *sum;
        out.emit(0, |row| {
            row.raw(&key).int(sum);
        })
    }

    fn snapshot(&mut self) -> Result<Option<Vec<u8>>, ComponentError> {
        self.sums.snapshot().map(Some)
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), ComponentError> {
        self.sums.restore(snapshot)
    }
}

/// Sends each number to the task of the reader that it names, and answers the sender on a direct stream.
pub(crate) struct Switch {
    readers: std::ops::Range<u32>,
}

impl Bolt for Switch {
    fn execute(&mut self, tuple: Tuple<'_>, out: &mut impl Emit) -> Result<(), ComponentError> {
        let number = tuple.row.int(0).unwrap_or_default();
        out.emit_direct(0, self.readers.start + number as u32, |row| {
            row.int(number);
        })
    }
}

/// Emits normally to its first stream, which is direct.
pub(crate) struct Wrong;

impl Bolt for Wrong {
    fn execute(&mut self, _tuple: Tuple<'_>, out: &mut impl Emit) -> Result<(), ComponentError> {
        out.emit(0, |row| {
            row.int(1);
        })
    }
}

#[derive(schemars::JsonSchema, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Times {
    times: usize,
}

#[derive(schemars::JsonSchema, serde::Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct ObeyConfig {
    times_out: bool,
    on_tick: bool,
}

/// All of them.
pub(crate) fn components() -> Components {
    let mut components = Components::default();
    components.bolt("branch", |config: Times, _| Ok(Branch { times: config.times }));
    components.bolt("aggregate", |config: Times, _| {
        Ok(Aggregate {
            count: config.times,
            held: Vec::new(),
        })
    });
    components.bolt("obey", |config: ObeyConfig, _| {
        Ok(Obey {
            patience: config.times_out.then_some(Patience::TimesOut),
            on_tick: config.on_tick,
            ..Obey::default()
        })
    });
    components.bolt("ack-every-other", |(): (), _| Ok(AckEveryOther::default()));
    components.bolt("global-count", |(): (), _| Ok(GlobalCount::default()));
    components.bolt("exclaim", |(): (), _| Ok(Exclaim));
    components.bolt("sum", |(): (), context| Sum::new(context));
    components.bolt("wrong", |(): (), _| Ok(Wrong));
    components.bolt("switch", |(): (), context| {
        let readers = context.outputs[0].readers[0].1.clone();
        Ok(Switch { readers })
    });
    components
}

/// A spout that is fed.
pub(crate) fn spout(name: &str, fields: &[&str]) -> ComponentSpec {
    part(name, Role::Spout, "", Json::Null, 1, &[], fields)
}

/// A bolt of these components with the inputs `(component, grouping)`.
pub(crate) fn bolt(
    name: &str,
    registered: &str,
    config: Json,
    tasks: u32,
    inputs: &[(&str, GroupingSpec)],
    fields: &[&str],
) -> ComponentSpec {
    let config = if config.is_null() {
        json!({"component": registered})
    } else {
        json!({"component": registered, "config": config})
    };
    part(name, Role::Bolt, "rust", config, tasks, inputs, fields)
}

/// A built-in bolt.
pub(crate) fn built_in(
    name: &str,
    kind: &str,
    config: Json,
    tasks: u32,
    inputs: &[(&str, GroupingSpec)],
    fields: &[&str],
) -> ComponentSpec {
    part(name, Role::Bolt, kind, config, tasks, inputs, fields)
}

/// A sink.
pub(crate) fn sink(name: &str, tasks: u32, inputs: &[(&str, GroupingSpec)]) -> ComponentSpec {
    bolt(name, "kit/sink", Json::Null, tasks, inputs, &[])
}

fn part(
    name: &str,
    role: Role,
    kind: &str,
    config: Json,
    replicas: u32,
    inputs: &[(&str, GroupingSpec)],
    fields: &[&str],
) -> ComponentSpec {
    let stream = StreamSpec {
        name: "default".to_owned(),
        fields: fields.iter().map(|field| (*field).to_owned()).collect(),
        direct: false,
    };
    ComponentSpec {
        name: name.to_owned(),
        role,
        kind: kind.to_owned(),
        config,
        replicas,
        tick_every_ms: None,
        state_version: 1,
        inputs: inputs
            .iter()
            .map(|(from, grouping)| {
                let (from, stream) = from.split_once('/').unwrap_or((from, "default"));
                InputSpec {
                    from: from.to_owned(),
                    stream: stream.to_owned(),
                    grouping: grouping.clone(),
                }
            })
            .collect(),
        streams: if fields.is_empty() {
            Vec::new()
        } else {
            vec![stream]
        },
    }
}

/// A graph.
pub(crate) fn graph(components: impl IntoIterator<Item = ComponentSpec>) -> GraphSpec {
    GraphSpec {
        components: components.into_iter().collect(),
    }
}

/// Values as a row.
pub(crate) fn row<const N: usize>(values: [&str; N]) -> Vec<Value> {
    values.into_iter().map(Value::from).collect()
}

/// The last count of each word.
pub(crate) fn last_counts(rows: &[Vec<Value>]) -> BTreeMap<String, i64> {
    rows.iter()
        .filter_map(|row| match row.as_slice() {
            [Value::Text(word), Value::Int(count)] => Some((word.clone(), *count)),
            _ => None,
        })
        .collect()
}

/// As without a grouping.
pub(crate) const SHUFFLE: GroupingSpec = GroupingSpec::Shuffle;

/// By one field.
pub(crate) fn by(field: &str) -> GroupingSpec {
    GroupingSpec::Fields(vec![field.to_owned()])
}

/// Runs a graph in which these spouts are fed.
pub(crate) fn start(graph: GraphSpec, feeds: &[&str]) -> Kit {
    start_with(graph, feeds, Delivery::default())
}

/// The same, tracked in this way.
pub(crate) fn start_with(graph: GraphSpec, feeds: &[&str], delivery: Delivery) -> Kit {
    let setup = Kit::of(graph).components(components()).delivery(delivery);
    feeds
        .iter()
        .fold(setup, |setup, spout| setup.feed(spout))
        .start()
        .unwrap()
}

/// So many seconds.
pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

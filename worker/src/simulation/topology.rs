//! The topology that is simulated: what it emits, and what each of its components tells the audit.
//!
//! ```text
//! in ──shuffle──> split ──fields(key)──> count ──shuffle──> out
//!  └───────────────────────shuffle─────────────────────────> out
//! ```
//!
//! `split` makes up to three parts of a root, and holds some of its input until its next tick; `count` keeps the parts
//! that it saw, which is state that moves with its tasks and is divided by key among others; `out` is the sink. Every row says which process emitted it in
//! which epoch.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use waterspout_core::component::rust::KIND;
use waterspout_core::graph::{ComponentSpec, GraphSpec, GroupingSpec, InputSpec, Role, StreamSpec};
use waterspout_core::position::Window;
use waterspout_core::value::{Row, RowWriter, ValueRef};

use super::audit::{Part, Root, SharedAudit};
use super::random::mix;
use super::rim;
use crate::component::{
    Bolt, ComponentError, Components, Context, Emit, EmitRoot, Finished, Held, Patience, Polled, Spout, Tuple,
};

/// The part that is the root itself, on its short way to the sink.
pub(crate) const WHOLE: u32 = 9;
/// The part that a task of `count` emits when it finishes.
pub(crate) const TOTAL: u32 = 10;
/// What different keys there are.
const KEYS: u64 = 16;

/// What a seed decides about the topology.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) spouts: u32,
    pub(crate) tasks: u32,
    pub(crate) roots: u64,
    /// Between the first emits of two roots of a task, in microseconds.
    pub(crate) pace: u64,
}

/// The parts of a root that arrive at the sink.
pub(crate) fn parts_of(root: Root) -> impl Iterator<Item = Part> {
    let children = (mix(root.number << 8 | u64::from(root.spout)) % 4) as u32;
    (0..children)
        .chain([WHOLE])
        .map(move |child| Part { root, child })
}

fn key_of(part: Part) -> u64 {
    mix(part.root.number << 16 | u64::from(part.root.spout) << 8 | u64::from(part.child)) % KEYS
}

/// The key of a part as its field is encoded.
pub(crate) fn encoded_key_of(part: Part) -> Vec<u8> {
    let mut key = Vec::new();
    RowWriter::new(&mut key).int(key_of(part) as i64);
    key
}

/// Writes the fields of a part, as it leaves this process now.
fn write(row: &mut RowWriter<'_>, part: Part, audit: &SharedAudit) {
    let process = rim::process();
    row.int(i64::from(part.root.spout))
        .int(part.root.number as i64)
        .int(i64::from(part.child))
        .int(key_of(part) as i64)
        .int(process as i64)
        .int(audit.lock().epoch_of(process) as i64);
}

const FIELDS: [&str; 6] = ["spout", "number", "child", "key", "process", "epoch"];

fn int(row: Row<'_>, field: usize) -> u64 {
    match row.iter().nth(field) {
        Some(ValueRef::Int(number)) => number as u64,
        other => panic!("field {field} is {other:?}, not what was emitted"),
    }
}

/// Reads a part, and has the audit look at where it comes from.
fn read(tuple: Tuple<'_>, audit: &SharedAudit) -> Part {
    let part = Part {
        root: Root {
            spout: int(tuple.row, 0) as u32,
            number: int(tuple.row, 1),
        },
        child: int(tuple.row, 2) as u32,
    };
    // What a finish emits is kept until it is acked, and sent again as it was.
    if part.child != TOTAL {
        audit.lock().worked_on(part, int(tuple.row, 4), int(tuple.row, 5));
    }
    part
}

/// Emits `roots` roots, one every `pace` microseconds, and those again that failed.
struct In {
    audit: SharedAudit,
    spout: u32,
    instance: u64,
    shape: Shape,
    window: Window<()>,
    again: BTreeSet<u64>,
}

impl In {
    fn root(&self, number: u64) -> Root {
        Root {
            spout: self.spout,
            number,
        }
    }

    fn emit(&mut self, number: u64, out: &mut impl EmitRoot) -> Result<(), ComponentError> {
        let root = self.root(number);
        self.audit.lock().emitted(root, self.instance);
        let whole = Part { root, child: WHOLE };
        out.emit_root(0, number, |row| write(row, whole, &self.audit))
    }
}

impl Spout for In {
    fn poll(&mut self, out: &mut impl EmitRoot) -> Result<Polled, ComponentError> {
        let mut room = out.room();
        while room > 0
            && let Some(number) = self.again.pop_first()
        {
            room -= 1;
            self.emit(number, out)?;
        }
        let pace = self.shape.pace;
        let due = |number: u64| number * pace;
        while room > 0 && self.window.next() < self.shape.roots && due(self.window.next()) <= rim::now() {
            room -= 1;
            let number = self.window.push(());
            self.emit(number, out)?;
        }
        if self.window.next() == self.shape.roots && self.again.is_empty() {
            return Ok(Polled::Done);
        }
        Ok(Polled::Idle(Duration::from_micros(self.shape.pace)))
    }

    fn ack(&mut self, message: u64) {
        self.audit.lock().acked(self.root(message), self.instance);
        self.window.finish(message);
    }

    fn fail(&mut self, message: u64) {
        self.audit.lock().failed(self.root(message), self.instance);
        self.again.insert(message);
    }

    fn rest(&mut self) -> Result<(), ComponentError> {
        self.audit.lock().rests(self.spout, self.instance);
        Ok(())
    }

    fn position(&self) -> Option<serde_json::Value> {
        Some(json!(self.window.low()))
    }

    fn resume(&mut self, position: serde_json::Value) -> Result<(), ComponentError> {
        let low = position.as_u64().expect("a position is a number");
        self.window = Window::starting_at(low);
        Ok(())
    }
}

/// Makes parts of roots. Holds every third root until its next tick.
struct Split {
    audit: SharedAudit,
    held: Vec<Held>,
}

impl Split {
    fn let_go(&mut self, out: &mut impl Emit) {
        for held in self.held.drain(..) {
            out.ack(held);
        }
    }
}

impl Bolt for Split {
    fn execute(&mut self, tuple: Tuple<'_>, out: &mut impl Emit) -> Result<(), ComponentError> {
        let whole = read(tuple, &self.audit);
        rim::work(self.audit.lock().cost());
        for part in parts_of(whole.root).filter(|part| part.child != WHOLE) {
            out.emit(0, |row| write(row, part, &self.audit))?;
        }
        if mix(whole.root.number).is_multiple_of(3) {
            self.held.push(out.hold(Patience::Renewed));
        }
        Ok(())
    }

    fn tick(&mut self, out: &mut impl Emit) -> Result<(), ComponentError> {
        self.let_go(out);
        Ok(())
    }

    fn pause(&mut self, out: &mut impl Emit) -> Result<(), ComponentError> {
        self.let_go(out);
        Ok(())
    }

    fn forget(&mut self) {
        self.held.clear();
    }
}

/// Keeps the parts that it saw, and hands them on.
struct Count {
    audit: SharedAudit,
    index: u32,
    instance: u64,
    seen: BTreeSet<Part>,
}

impl Bolt for Count {
    fn execute(&mut self, tuple: Tuple<'_>, out: &mut impl Emit) -> Result<(), ComponentError> {
        let part = read(tuple, &self.audit);
        let mut audit = self.audit.lock();
        rim::work(audit.cost());
        audit.counted(self.instance, part);
        drop(audit);
        self.seen.insert(part);
        out.emit(0, |row| write(row, part, &self.audit))
    }

    fn finish(&mut self, out: &mut impl Emit) -> Result<Finished, ComponentError> {
        let root = Root {
            spout: self.index,
            number: u64::MAX >> 1,
        };
        out.emit(0, |row| write(row, Part { root, child: TOTAL }, &self.audit))?;
        Ok(Finished::Done)
    }

    fn snapshot(&mut self) -> Result<Option<Vec<u8>>, ComponentError> {
        Ok(Some(serde_json::to_vec(&self.seen).expect("parts are numbers")))
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), ComponentError> {
        let seen: BTreeSet<Part> = serde_json::from_slice(snapshot).expect("a state is what a snapshot gave");
        self.seen.extend(seen);
        self.audit.lock().restored(self.instance, self.seen.clone());
        Ok(())
    }

    fn keep_keys(&mut self, is_own: &dyn Fn(&[u8]) -> bool) -> bool {
        self.seen.retain(|&part| is_own(&encoded_key_of(part)));
        self.audit.lock().restored(self.instance, self.seen.clone());
        true
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.audit.lock().dropped(self.instance);
    }
}

/// The sink: what arrives here is written down outside of all workers.
struct Out {
    audit: SharedAudit,
}

impl Bolt for Out {
    fn execute(&mut self, tuple: Tuple<'_>, _out: &mut impl Emit) -> Result<(), ComponentError> {
        let part = read(tuple, &self.audit);
        let mut audit = self.audit.lock();
        rim::work(audit.cost());
        audit.arrived(part);
        Ok(())
    }
}

/// What the workers can run.
pub(crate) fn components(audit: &SharedAudit, shape: Shape) -> Components {
    let mut components = Components::default();
    let shared = audit.clone();
    components.spout("in", move |(): (), context: &Context| {
        Ok(In {
            audit: shared.clone(),
            spout: context.index,
            instance: shared.lock().new_instance(context.task),
            shape,
            window: Window::starting_at(0),
            again: BTreeSet::new(),
        })
    });
    let shared = audit.clone();
    components.bolt("split", move |(): (), _| {
        Ok(Split {
            audit: shared.clone(),
            held: Vec::new(),
        })
    });
    let shared = audit.clone();
    components.bolt("count", move |(): (), context: &Context| {
        Ok(Count {
            audit: shared.clone(),
            index: context.index,
            instance: shared.lock().new_instance(context.task),
            seen: BTreeSet::new(),
        })
    });
    let shared = audit.clone();
    components.bolt("out", move |(): (), _| {
        Ok(Out {
            audit: shared.clone(),
        })
    });
    components
}

/// The graph.
pub(crate) fn graph(shape: Shape) -> GraphSpec {
    let input = |from: &str, grouping| InputSpec {
        from: from.to_owned(),
        stream: "default".to_owned(),
        grouping,
    };
    let component = |name: &str, role, replicas, inputs, emits: bool| ComponentSpec {
        name: name.to_owned(),
        role,
        kind: KIND.to_owned(),
        config: json!({"component": name}),
        replicas,
        tick_every_ms: (name == "split").then_some(15),
        state_version: 1,
        inputs,
        streams: emits
            .then(|| StreamSpec {
                name: "default".to_owned(),
                fields: FIELDS.map(str::to_owned).to_vec(),
                direct: false,
            })
            .into_iter()
            .collect(),
    };
    let by_key = GroupingSpec::Fields(vec!["key".to_owned()]);
    GraphSpec {
        components: vec![
            component("in", Role::Spout, shape.spouts, vec![], true),
            component(
                "split",
                Role::Bolt,
                shape.tasks,
                vec![input("in", GroupingSpec::Shuffle)],
                true,
            ),
            component(
                "count",
                Role::Bolt,
                shape.tasks,
                vec![input("split", by_key)],
                true,
            ),
            component(
                "out",
                Role::Bolt,
                2,
                vec![
                    input("count", GroupingSpec::Shuffle),
                    input("in", GroupingSpec::Shuffle),
                ],
                false,
            ),
        ],
    }
}

/// Shares one audit among all components of all workers.
pub(crate) fn share(audit: super::audit::Audit) -> SharedAudit {
    SharedAudit(Arc::new(std::sync::Mutex::new(audit)))
}

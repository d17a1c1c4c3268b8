//! A kit for tests: a bolt or a topology in this process, with inputs given and time under control.
//!
//! Owns: a worker without threads, sockets and clocks; it waits for what programs of scripts answer. Tasks are those of the data plane, and so are groupings, the
//! ledger, attempts and the finish; a tuple is where it goes as soon as it is emitted. Leaves to others: what needs
//! several processes, such as losses of one of them. Invariant: the same calls lead to the same outcome.
//!
//! ```
//! use std::time::Duration;
//! use waterspout_worker::component::{Bolt, Components, ComponentError, Emit, Tuple};
//! use waterspout_worker::kit::{Kit, one_bolt};
//! use waterspout_core::value::Value;
//!
//! struct Shout;
//! impl Bolt for Shout {
//!     fn execute(&mut self, tuple: Tuple<'_>, out: &mut impl Emit) -> Result<(), ComponentError> {
//!         match tuple.row.text(0) {
//!             Some(word) => out.emit(0, |row| { row.text(&word.to_uppercase()); }),
//!             None => { out.fail(); Ok(()) }
//!         }
//!     }
//! }
//! let mut components = Components::default();
//! components.bolt("shout", |(): (), _| Ok(Shout));
//! let mut kit = Kit::of(one_bolt("shout", serde_json::json!(null), &["word"], &["word"]))
//!     .components(components)
//!     .feed("in")
//!     .start()
//!     .unwrap();
//! let good = kit.emit("in", [Value::from("hello")]);
//! let bad = kit.emit("in", [Value::Null]);
//! assert_eq!(kit.values("bolt", "default"), [[Value::from("HELLO")]]);
//! assert_eq!(kit.acked("in"), [good]);
//! kit.advance(Duration::from_millis(50));
//! assert_eq!(kit.failed("in"), [bad]);
//! ```

mod end;
mod failing;
mod feed;
mod outside;
mod setup;
mod time;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::registry::Registry;
use waterspout_core::frame::Frame;
use waterspout_core::graph::{ComponentId, GraphSpec, StreamId, TaskId};
use waterspout_core::ledger::LedgerEntry;
use waterspout_core::plan::ParsedPlan;
use waterspout_core::value::{RowWriter, Value, ValueRef};

pub use crate::component::script::text as values;
pub use setup::{KitError, Setup, one_bolt, sink};

use crate::component::{ComponentError, Components, Measures};
use crate::poison::Page;
use crate::runtime::{self, Settings};
use crate::task::{Counts, ListedLetter, Ran, TaskCore, Which};
use feed::Feed;
use time::{Bell, Time};

/// How long the kit waits, in real time, for a program to be ready or to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A tuple that went from one task to another.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    /// The component that emitted it.
    pub from: String,
    /// The stream that it was emitted to.
    pub stream: String,
    /// The component that it went to.
    pub to: String,
    /// Which task of that component, from 0.
    pub task: u32,
    /// Its fields.
    pub values: Vec<Value>,
}

/// A running topology.
pub struct Kit {
    plan: ParsedPlan,
    tasks: Vec<Box<dyn TaskCore>>,
    inboxes: Vec<VecDeque<Frame>>,
    entries: Vec<Vec<LedgerEntry>>,
    /// When each task wants to run, if it has nothing to do now.
    due: Vec<Option<u64>>,
    /// Microseconds.
    now: u64,
    /// That of futures.
    time: Time,
    bells: Vec<Arc<Bell>>,
    feeds: BTreeMap<String, Arc<Mutex<Feed>>>,
    active: bool,
    measures: Measures,
    sent: Vec<Sent>,
    /// By component: how many of the next tuples that go to it fail.
    to_fail: BTreeMap<ComponentId, usize>,
}

impl Kit {
    /// A topology that is to be set up.
    pub fn of(graph: GraphSpec) -> Setup {
        Setup::new(graph)
    }

    fn new(
        plan: ParsedPlan,
        mut components: Components,
        feeds: BTreeMap<String, Arc<Mutex<Feed>>>,
        base: std::path::PathBuf,
    ) -> Result<Self, KitError> {
        let time = Time::start().map_err(KitError::StartTime)?;
        components.run_futures_on(time.handle());
        let mut tasks = Vec::new();
        let mut bells = Vec::new();
        let page = Page::of_this_process();
        for component in plan.graph().components() {
            for (index, task) in (0..).zip(plan.graph().tasks_of(component.id)) {
                let me = plan.placement()[task as usize];
                let settings = Settings {
                    me,
                    starts: 1,
                    base: base.clone(),
                    shared_stdout: false,
                    json_stdout: false,
                    components: components.clone(),
                    page: Arc::clone(&page),
                };
                let made = runtime::make(&plan, component, index, task, &settings);
                let mut core = made.map_err(|source| KitError::Make {
                    component: component.name.clone(),
                    source,
                })?;
                core.output()
                    .place(|other| plan.placement()[other as usize] == me);
                core.set_active(true);
                let bell = time.bell();
                core.wake_through(bell.as_wake());
                bells.push(bell);
                tasks.push(core);
            }
        }
        let count = tasks.len();
        let mut kit = Self {
            plan,
            tasks,
            inboxes: vec![VecDeque::new(); count],
            entries: vec![Vec::new(); count],
            due: vec![Some(0); count],
            now: 0,
            time,
            bells,
            feeds,
            active: true,
            measures: components.measures().clone(),
            sent: Vec::new(),
            to_fail: BTreeMap::new(),
        };
        kit.settle();
        Ok(kit)
    }

    fn feed(&self, spout: &str) -> std::sync::MutexGuard<'_, Feed> {
        let feed = self.feeds.get(spout);
        feed.unwrap_or_else(|| panic!("'{spout}' is no spout that is fed; say so with `feed`"))
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn component(&self, name: &str) -> ComponentId {
        let component = self.plan.graph().find(name);
        component
            .unwrap_or_else(|| panic!("there is no component '{name}'"))
            .id
    }

    /// Whether there is a component of this name.
    pub fn has(&self, component: &str) -> bool {
        self.plan.graph().find(component).is_some()
    }

    /// Which stream of a component this is, with its number of fields.
    pub fn stream(&self, component: &str, stream: &str) -> Option<(usize, usize)> {
        let id = self.plan.graph().find(component)?.id;
        let streams = self.plan.graph().streams();
        let mut own = streams.iter().filter(|each| each.component == id).enumerate();
        own.find_map(|(number, each)| (each.name == stream).then_some((number, each.fields.len())))
    }

    /// Whether a spout is fed by the test.
    pub fn is_fed(&self, spout: &str) -> bool {
        self.feeds.contains_key(spout)
    }

    /// Lets a spout emit a tuple to its first stream, and lets the topology work on it. Its message id.
    pub fn emit(&mut self, spout: &str, values: impl IntoIterator<Item = Value>) -> u64 {
        self.emit_to(spout, 0, values)
    }

    /// Lets a spout emit a tuple to its `stream`-th stream; see [`Kit::emit`].
    pub fn emit_to(&mut self, spout: &str, stream: usize, values: impl IntoIterator<Item = Value>) -> u64 {
        let mut row = Vec::new();
        let mut writer = RowWriter::new(&mut row);
        let mut fields = 0;
        for value in values {
            writer.value(&value);
            fields += 1;
        }
        let message = self.feed(spout).push(stream, row, fields);
        for task in self.plan.graph().tasks_of(self.component(spout)) {
            // Lets it poll at once.
            self.tasks[task as usize].set_active(self.active);
            self.due[task as usize] = Some(0);
        }
        self.settle();
        message
    }

    /// From now on a spout emits failed tuples again.
    pub fn replay(&mut self, spout: &str) {
        self.feed(spout).replays = true;
    }

    /// Lets the next `count` tuples that go to a component fail instead of being worked on.
    pub fn fail_next(&mut self, component: &str, count: usize) {
        let component = self.component(component);
        *self.to_fail.entry(component).or_default() += count;
    }

    /// Lets time go by, and what is due in it happen.
    pub fn advance(&mut self, time: Duration) {
        let until = self.now + time.as_micros() as u64;
        self.settle();
        loop {
            let due = self.due.iter().flatten().copied().min();
            let at = due.map_or(until, |at| at.clamp(self.now, until));
            self.now = self.now.max(self.time.run_until(at));
            self.settle();
            let is_due = |at: &u64| *at <= self.now;
            if self.now >= until && !self.due.iter().flatten().any(is_due) {
                break;
            }
        }
    }

    /// Pauses the topology, or lets it go on.
    pub fn set_active(&mut self, active: bool) {
        self.active = active;
        for task in &mut self.tasks {
            task.set_active(active);
        }
        self.due.fill(Some(0));
        self.settle();
    }

    /// Loses everything that is in flight, as when a worker is lost.
    ///
    /// # Panics
    /// If a component fails.
    pub fn lose(&mut self) {
        self.inboxes.iter_mut().for_each(VecDeque::clear);
        for task in &mut self.tasks {
            task.fail_all().expect("a component failed");
        }
        self.due.fill(Some(0));
        self.settle();
    }

    /// Messages of a spout that is fed that were acked, in the order in which it heard of it.
    pub fn acked(&self, spout: &str) -> Vec<u64> {
        self.feed(spout).acked.clone()
    }

    /// Messages of a spout that is fed that failed, in the order in which it heard of it: after the pause before the next
    /// attempt.
    pub fn failed(&self, spout: &str) -> Vec<u64> {
        self.feed(spout).failed.clone()
    }

    /// All tuples that went from task to task.
    pub fn sent(&self) -> &[Sent] {
        &self.sent
    }

    /// The fields of the tuples that a component emitted to a stream and that a bolt read.
    pub fn values(&self, component: &str, stream: &str) -> Vec<Vec<Value>> {
        let from = self
            .sent
            .iter()
            .filter(|sent| sent.from == component && sent.stream == stream);
        from.map(|sent| sent.values.clone()).collect()
    }

    /// The counts of a component, over its tasks.
    pub fn counts(&self, component: &str) -> Counts {
        let mut sum = Counts::default();
        for task in self.plan.graph().tasks_of(self.component(component)) {
            let counts = self.tasks[task as usize].counts();
            sum.executed += counts.executed;
            sum.emitted += counts.emitted;
            sum.emitted_bytes += counts.emitted_bytes;
            sum.acked += counts.acked;
            sum.failed += counts.failed;
            sum.timed_out += counts.timed_out;
            sum.lost += counts.lost;
            sum.dead += counts.dead;
            sum.held += counts.held;
            sum.pending += counts.pending;
        }
        sum
    }

    /// What the tasks of a spout have given up and keep, since no bolt reads their dead letters. The spout must emit again
    /// what failed; see [`Kit::replay`].
    pub fn dead_letters(&self, spout: &str) -> Vec<ListedLetter> {
        let tasks = self.plan.graph().tasks_of(self.component(spout));
        let kept = tasks.filter_map(|task| Some((task, self.tasks[task as usize].letters()?)));
        kept.flat_map(|(task, letters)| letters.listed(spout, task))
            .collect()
    }

    /// Lets the tasks of a spout emit all that they have given up again.
    pub fn replay_dead_letters(&mut self, spout: &str) {
        for task in self.plan.graph().tasks_of(self.component(spout)) {
            self.tasks[task as usize].replay(&Which::All);
            self.due[task as usize] = Some(0);
        }
        self.settle();
    }

    /// The metrics of the components' own code, as `/metrics` shows them.
    pub fn metrics(&self) -> String {
        let mut registry = Registry::with_prefix("waterspout");
        registry.register_collector(self.measures.collector(self.plan.topology()));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)
            .expect("writing to a text does not fail");
        text
    }

    /// Moves the state of all tasks of a component into new ones, as when they move to another worker.
    ///
    /// # Panics
    /// If the component refuses its state.
    pub fn snapshot(&mut self, component: &str) -> Vec<Vec<u8>> {
        let tasks = self.plan.graph().tasks_of(self.component(component));
        tasks
            .map(|task| self.tasks[task as usize].snapshot().expect("a component failed"))
            .collect()
    }

    /// Hands the first tasks of a component states that [`Kit::snapshot`] gave.
    ///
    /// # Errors
    /// If the component refuses one.
    pub fn restore(&mut self, component: &str, states: &[Vec<u8>]) -> Result<(), ComponentError> {
        let tasks = self.plan.graph().tasks_of(self.component(component));
        for (task, state) in tasks.zip(states) {
            self.tasks[task as usize].restore(state)?;
        }
        Ok(())
    }

    /// Runs every task until none has anything to do at this time, and no program of a script is at work.
    fn settle(&mut self) {
        let mut more = true;
        while more {
            more = false;
            let rings = self.time.rings().count();
            for task in 0..self.tasks.len() {
                more |= self.run(task);
            }
            if !more {
                self.time.settle(self.now);
                for (bell, due) in self.bells.iter().zip(&mut self.due) {
                    if bell.take() {
                        *due = Some(0);
                        more = true;
                    }
                }
            }
            if !more {
                for task in &mut self.tasks {
                    task.sound_out();
                }
            }
            if !more && self.tasks.iter().any(|task| task.awaits_program()) {
                more = self.time.rings().wait(rings, PATIENCE);
                assert!(more, "a program has neither answered nor died for {PATIENCE:?}");
            }
        }
    }

    /// Runs one task if it has something to do. Whether it had.
    fn run(&mut self, task: usize) -> bool {
        let entries = std::mem::take(&mut self.entries[task]);
        let core = &mut self.tasks[task];
        let is_due = self.due[task].is_some_and(|at| at <= self.now);
        let has_frame = core.is_busy() || !self.inboxes[task].is_empty();
        if entries.is_empty() && !is_due && !has_frame {
            return false;
        }
        core.settle(&entries, self.now).expect("a component failed");
        if !core.is_busy()
            && let Some(frame) = self.inboxes[task].pop_front()
        {
            core.accept(frame);
        }
        let ran = core.run(self.now).unwrap_or_else(|error| panic!("{error}"));
        let blocked = core.is_busy() && ran != Ran::More;
        core.output().flush();
        self.due[task] = match ran {
            Ran::More => Some(0),
            Ran::Idle(at) => at,
        };
        self.deliver(task);
        !blocked
    }

    fn deliver(&mut self, task: usize) {
        let output = self.tasks[task].output();
        let entries = output.entries().to_vec();
        output.clear_entries();
        let shipped: Vec<_> = output.take_shipped().into_iter().flatten().collect();
        for entry in entries {
            self.entries[entry.group.spout as usize].push(entry);
        }
        for shipped in shipped {
            if let Some(frame) = self.without_failures(shipped.target, shipped.frame) {
                self.record(shipped.target, &frame);
                self.inboxes[shipped.target as usize].push_back(frame);
            }
        }
    }

    /// What is left of a frame when the tuples that are to fail have failed.
    fn without_failures(&mut self, target: u32, frame: Frame) -> Option<Frame> {
        let component = self.plan.graph().component_of(TaskId(target));
        let to_fail = self.to_fail.get_mut(&component);
        let failing = to_fail.map_or(0, |left| {
            let failing = frame.rows().min(*left);
            *left -= failing;
            failing
        });
        for entry in failing::entries(&frame, failing) {
            self.entries[entry.group.spout as usize].push(entry);
        }
        failing::rest(frame, failing)
    }

    fn record(&mut self, target: u32, frame: &Frame) {
        let graph = self.plan.graph();
        let stream = graph.stream(StreamId(frame.stream));
        let to = graph.component_of(TaskId(target));
        for row in 0..frame.rows() {
            self.sent.push(Sent {
                from: graph.component(stream.component).name.clone(),
                stream: stream.name.clone(),
                to: graph.component(to).name.clone(),
                task: target - graph.tasks_of(to).start,
                values: frame.row(row).iter().map(ValueRef::to_value).collect(),
            });
        }
    }
}

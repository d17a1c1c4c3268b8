//! Processes, pods, links, and what can happen next.
//!
//! Owns: the network, and one step at a time. Leaves to others: the runtime's part ([`super::runtime`]), tasks
//! ([`super::plant`]), properties ([`super::ghost`]), plans ([`super::operator`]), the order of things
//! ([`super::run`], [`super::explore`]).
//!
//! A connection joins two processes and carries control, data and copies each in order, but in no order between
//! them. A dead process' words may still arrive until its peer has seen the end of the connection, and a connection's
//! first word may arrive after that of a newer one.

use std::collections::{BTreeMap, VecDeque};

use super::ghost::{Ghost, is_without};
use super::plant::{Content, Packet, Plant, ProcessId, Shape};
use crate::epoch::mutation::Mutation;
use crate::epoch::{
    Ballot, CopyId, Epoch, Event, Hello, Incarnation, Machine, Message, PlanHead, Saved, WorkerIndex,
};

/// What is wrong with the project in this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Flaw {
    None,
    Machine(Mutation),
    AskWithoutSkipped,
    AskWithoutLeavers,
    /// A plan knows the numbers of tasks of the plan before only.
    LastAncestorOnly,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Pod {
    pub(super) index: WorkerIndex,
    pub(super) uid: u64,
    pub(super) saved: Saved,
    pub(super) starts: u64,
    pub(super) process: Option<Process>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Process {
    pub(super) id: ProcessId,
    pub(super) machine: Machine,
    pub(super) plant: Plant,
    pub(super) jobs: Vec<Job>,
    /// How many of the published plans it has read, or has no chance to read any more.
    pub(super) read: usize,
    /// The newest life of each peer whose link came up, by order of birth.
    pub(super) believed: BTreeMap<WorkerIndex, ProcessId>,
}

/// Work of the runtime that the machine waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Job {
    Opened(Epoch),
    Drained(Ballot, u32),
    Snapshotted(Ballot),
    Installed(Ballot),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct End {
    /// The first word, until it is delivered.
    hello: Option<Hello>,
    pub(super) up: bool,
    /// This end has seen the end of the connection.
    pub(super) closed: bool,
    pub(super) control: VecDeque<Message>,
    pub(super) data: VecDeque<Packet>,
    pub(super) copies: VecDeque<(Ballot, CopyId, Content)>,
}

/// A connection; `ends[n]` holds what is on its way to `between[n]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Connection {
    pub(super) between: [ProcessId; 2],
    pub(super) ends: [End; 2],
    pub(super) cut: bool,
}

/// One thing that can happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Happening {
    Hello(usize, usize),
    Control(usize, usize),
    Data(usize, usize),
    Copy(usize, usize),
    /// One end sees the end of a connection.
    Notice(usize, usize),
    Connect(ProcessId, ProcessId),
    Job(usize, usize),
    /// A drain's time is over.
    DrainTimeout(usize, usize),
    Emit(usize),
    Apply(usize),
    /// Roots in flight time out.
    Timeout(usize),
    Read(usize, usize),
    Start(usize),
    Tick(usize),
    Crash(usize),
    Cut(usize),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) shape: Shape,
    pub(super) flaw: Flaw,
    pub(super) now_ms: u64,
    pub(super) pods: Vec<Pod>,
    pub(super) connections: Vec<Connection>,
    pub(super) plans: Vec<PlanHead>,
    pub(super) known_started: Epoch,
    pub(super) turn: usize,
    pub(super) ghost: Ghost,
    /// Pairs of pods that cannot connect.
    pub(super) parted: Vec<(usize, usize)>,
}

impl World {
    pub(super) fn new(shape: Shape, flaw: Flaw) -> Self {
        Self {
            shape,
            flaw,
            now_ms: 0,
            pods: Vec::new(),
            connections: Vec::new(),
            plans: Vec::new(),
            known_started: Epoch(0),
            turn: 0,
            ghost: Ghost::default(),
            parted: Vec::new(),
        }
    }

    pub(super) fn processes(&self) -> impl Iterator<Item = &Process> {
        self.pods.iter().filter_map(|pod| pod.process.as_ref())
    }

    pub(super) fn process(&self, id: ProcessId) -> &Process {
        self.pods[id.0].process.as_ref().unwrap()
    }

    pub(super) fn is_alive(&self, id: ProcessId) -> bool {
        self.pods[id.0]
            .process
            .as_ref()
            .is_some_and(|process| process.id == id)
    }

    pub(super) fn incarnation(&self, id: ProcessId) -> Incarnation {
        Incarnation {
            uid: self.pods[id.0].uid,
            start: id.1,
        }
    }

    pub(super) fn need_pod(&mut self, index: WorkerIndex) {
        if !self.pods.iter().any(|pod| pod.index == index) {
            self.replace_pod(index);
        }
    }

    /// A new pod for an index. Uids have no order.
    pub(super) fn replace_pod(&mut self, index: WorkerIndex) {
        let uid = (self.pods.len() as u64 * 7919 + 13) % 101;
        self.pods.push(Pod {
            index,
            uid,
            saved: Saved::default(),
            starts: 0,
            process: None,
        });
    }

    /// What a plan has given up may be lost.
    pub(super) fn lose_abandoned(&mut self) {
        let plan = self.plans.last().unwrap();
        let without: Vec<bool> = self
            .pods
            .iter()
            .map(|pod| is_without(plan, pod.index, pod.uid))
            .collect();
        self.ghost.lose(|process| without[process.0]);
    }

    /// Whether the newest plan needs a process in this pod.
    pub(super) fn is_wanted(&self, pod: usize) -> bool {
        let pod = &self.pods[pod];
        let newest = self.plans.last();
        newest
            .and_then(|plan| plan.asked(pod.index))
            .is_some_and(|member| member.uid == pod.uid)
    }

    /// All that can happen, faults included.
    pub(super) fn happenings(&self) -> Vec<Happening> {
        let mut all = Vec::new();
        for (at, connection) in self.connections.iter().enumerate() {
            for (side, end) in connection.ends.iter().enumerate() {
                let to = connection.between[side];
                if end.closed || !self.is_alive(to) {
                    continue;
                }
                if end.hello.is_some() {
                    all.push(Happening::Hello(at, side));
                } else {
                    if !end.control.is_empty() {
                        all.push(Happening::Control(at, side));
                    }
                    if end
                        .data
                        .front()
                        .is_some_and(|packet| packet.epoch <= self.process(to).machine.epoch())
                    {
                        all.push(Happening::Data(at, side));
                    }
                    if !end.copies.is_empty() {
                        all.push(Happening::Copy(at, side));
                    }
                }
                if connection.cut {
                    all.push(Happening::Notice(at, side));
                }
            }
            if !connection.cut {
                all.push(Happening::Cut(at));
            }
        }
        let ids: Vec<ProcessId> = self.processes().map(|process| process.id).collect();
        for (n, &a) in ids.iter().enumerate() {
            for &b in &ids[n + 1..] {
                if self.can_connect(a, b) {
                    all.push(Happening::Connect(a, b));
                }
            }
        }
        for (at, pod) in self.pods.iter().enumerate() {
            let Some(process) = &pod.process else {
                all.push(Happening::Start(at));
                continue;
            };
            for (job, work) in process.jobs.iter().enumerate() {
                if !matches!(work, Job::Drained(..)) || process.is_idle() {
                    all.push(Happening::Job(at, job));
                } else {
                    all.push(Happening::DrainTimeout(at, job));
                }
            }
            if process.plant.emitter(&self.shape).is_some() {
                all.push(Happening::Emit(at));
            }
            if process.applicable().is_some() {
                all.push(Happening::Apply(at));
            }
            if process.plant.in_flight() > 0 {
                all.push(Happening::Timeout(at));
            }
            all.extend((process.read..self.plans.len()).map(|plan| Happening::Read(at, plan)));
            all.push(Happening::Tick(at));
            all.push(Happening::Crash(at));
        }
        all
    }

    fn can_connect(&self, a: ProcessId, b: ProcessId) -> bool {
        let (one, two) = (&self.pods[a.0], &self.pods[b.0]);
        let parted = self.parted.contains(&(a.0, b.0)) || self.parted.contains(&(b.0, a.0));
        let open = self
            .connections
            .iter()
            .any(|connection| connection.between == [a, b] && !connection.cut);
        let wanted = self.process(a).machine.peers().contains(&two.index)
            || self.process(b).machine.peers().contains(&one.index);
        one.index != two.index && wanted && !parted && !open
    }

    /// Lets one thing happen.
    pub(super) fn happen(&mut self, happening: Happening) -> Result<(), String> {
        match happening {
            Happening::Hello(at, side) => {
                let (to, from) = self.sides(at, side);
                // A second link to the same life replaces the first.
                for other in 0..self.connections.len() {
                    if other != at && self.connections[other].between == self.connections[at].between {
                        self.close(other, side);
                    }
                }
                let end = &mut self.connections[at].ends[side];
                let hello = end.hello.take().unwrap();
                end.up = true;
                let (peer, incarnation) = (self.pods[from.0].index, self.incarnation(from));
                self.step(
                    to,
                    Event::PeerUp {
                        peer,
                        incarnation,
                        hello,
                    },
                )?;
                if self.is_alive(to) && self.process(to).machine.standing(peer, incarnation).is_ok() {
                    let believed = &mut self.pods[to.0].process.as_mut().unwrap().believed;
                    let newest = believed.entry(peer).or_insert(from);
                    *newest = from.max(*newest);
                }
            }
            Happening::Control(at, side) => {
                let (to, from) = self.sides(at, side);
                let message = self.connections[at].ends[side].control.pop_front().unwrap();
                let (peer, incarnation) = (self.pods[from.0].index, self.incarnation(from));
                self.step(
                    to,
                    Event::Message {
                        from: peer,
                        incarnation,
                        message,
                    },
                )?;
            }
            Happening::Data(at, side) => {
                let (to, from) = self.sides(at, side);
                let packet = self.connections[at].ends[side].data.pop_front().unwrap();
                let (peer, incarnation) = (self.pods[from.0].index, self.incarnation(from));
                let process = self.pods[to.0].process.as_mut().unwrap();
                if process.machine.accepts(peer, incarnation, packet.epoch).is_ok() {
                    process.plant.inbox.push_back(packet);
                }
            }
            Happening::Copy(at, side) => {
                let (to, from) = self.sides(at, side);
                let (ballot, copy, content) = self.connections[at].ends[side].copies.pop_front().unwrap();
                let (peer, incarnation) = (self.pods[from.0].index, self.incarnation(from));
                if let Content::Bolt(roots) = &content
                    && copy.tag.epoch > self.ghost.started
                {
                    // What was on its way when its last holder died need not be found, as its receiver may have
                    // reported before.
                    let held = self.ghost.all_held();
                    self.ghost.hold(to, roots.intersection(&held).copied());
                }
                self.pods[to.0]
                    .process
                    .as_mut()
                    .unwrap()
                    .plant
                    .copies
                    .insert(copy, content);
                self.step(
                    to,
                    Event::CopyArrived {
                        from: peer,
                        incarnation,
                        ballot,
                        copy,
                    },
                )?;
            }
            Happening::Notice(at, side) => {
                let (to, from) = self.sides(at, side);
                let was_up = self.connections[at].ends[side].up;
                self.close(at, side);
                if was_up {
                    let (peer, incarnation) = (self.pods[from.0].index, self.incarnation(from));
                    self.step(to, Event::PeerLost { peer, incarnation })?;
                }
            }
            Happening::Connect(a, b) => self.connect(a, b),
            Happening::Job(at, job) => self.finish_job(at, job, true)?,
            Happening::DrainTimeout(at, job) => {
                self.pods[at].process.as_mut().unwrap().plant.fail_all();
                self.finish_job(at, job, false)?;
            }
            Happening::Emit(at) => self.emit(at),
            Happening::Apply(at) => self.apply(at)?,
            Happening::Timeout(at) => self.pods[at].process.as_mut().unwrap().plant.fail_all(),
            Happening::Read(at, plan) => {
                let process = self.pods[at].process.as_mut().unwrap();
                process.read = plan + 1;
                let id = process.id;
                self.step(id, Event::Plan(self.plans[plan].clone()))?;
            }
            Happening::Start(at) => self.start(at)?,
            Happening::Tick(at) => {
                let id = self.pods[at].process.as_ref().unwrap().id;
                self.step(id, Event::Tick)?;
            }
            Happening::Crash(at) => {
                let id = self.pods[at].process.as_ref().unwrap().id;
                self.ghost.lose(|process| process == id);
                self.end(id);
            }
            Happening::Cut(at) => self.connections[at].cut = true,
        }
        self.tidy();
        self.check_always()
    }

    fn sides(&self, at: usize, side: usize) -> (ProcessId, ProcessId) {
        let between = self.connections[at].between;
        (between[side], between[1 - side])
    }

    /// One end stops listening; the other will see the end.
    pub(super) fn close(&mut self, at: usize, side: usize) {
        self.connections[at].cut = true;
        self.connections[at].ends[side] = End {
            closed: true,
            ..End::default()
        };
    }

    fn tidy(&mut self) {
        let mut connections = std::mem::take(&mut self.connections);
        for connection in &mut connections {
            connection.cut |= connection.between.iter().any(|&id| !self.is_alive(id));
        }
        connections.retain(|connection| {
            connection
                .between
                .iter()
                .zip(&connection.ends)
                .any(|(&id, end)| !end.closed && self.is_alive(id))
        });
        self.connections = connections;
    }

    fn connect(&mut self, a: ProcessId, b: ProcessId) {
        let hello = |id| End {
            hello: Some(self.process(id).machine.hello()),
            ..End::default()
        };
        let ends = [hello(b), hello(a)];
        self.connections.push(Connection {
            between: [a, b],
            ends,
            cut: false,
        });
    }
}

impl Process {
    /// Whether nothing of its own is in flight.
    pub(super) fn is_idle(&self) -> bool {
        !self.plant.spouts_on && self.plant.in_flight() == 0 && self.applicable().is_none()
    }

    /// The first packet whose task is not frozen.
    pub(super) fn applicable(&self) -> Option<usize> {
        let frozen = |packet: &Packet| {
            let task = if packet.is_ack { packet.spout } else { packet.task };
            self.plant.tasks.get(&task).is_some_and(|task| task.frozen)
        };
        self.plant.inbox.iter().position(|packet| !frozen(packet))
    }
}

impl Connection {
    /// Whether the first word was delivered to one side.
    pub(super) fn is_up(&self, side: usize) -> bool {
        self.ends[side].up
    }

    /// The next control message to one side.
    pub(super) fn first(&self, side: usize) -> Option<&Message> {
        self.ends[side].control.front()
    }
}

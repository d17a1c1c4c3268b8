//! Processes, pods, links, and what can happen next.
//!
//! Owns: the runtime's part of the contract (actions in order, answers later), the network. Leaves to others: tasks
//! ([`super::plant`]), properties ([`super::ghost`]), plans ([`super::operator`]), the order of things
//! ([`super::run`], [`super::explore`]).
//!
//! A connection joins two processes and carries control, data and copies each in order, but in no order between
//! them. A dead process' words may still arrive until its peer has seen the end of the connection, and a connection's
//! first word may arrive after that of a newer one.

use std::collections::{BTreeMap, VecDeque};

use super::ghost::{Ghost, is_without};
use super::plant::{Content, Packet, Plant, ProcessId, Shape, owner};
use crate::epoch::mutation::Mutation;
use crate::epoch::{
    Action, Ballot, Config, CopyId, Epoch, Event, Hello, Incarnation, Machine, Message, PlanHead, Saved,
    WorkerIndex,
};

/// What is wrong with the project in this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Flaw {
    None,
    Machine(Mutation),
    AskWithoutSkipped,
    AskWithoutLeavers,
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
    believed: BTreeMap<WorkerIndex, ProcessId>,
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
    up: bool,
    /// This end has seen the end of the connection.
    closed: bool,
    control: VecDeque<Message>,
    data: VecDeque<Packet>,
    copies: VecDeque<(Ballot, CopyId, Content)>,
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

    fn is_alive(&self, id: ProcessId) -> bool {
        self.pods[id.0]
            .process
            .as_ref()
            .is_some_and(|process| process.id == id)
    }

    fn incarnation(&self, id: ProcessId) -> Incarnation {
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
                    let held = self.ghost.all_held(copy.task);
                    self.ghost.hold(copy.task, to, roots.intersection(&held).copied());
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
    fn close(&mut self, at: usize, side: usize) {
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

    fn start(&mut self, at: usize) -> Result<(), String> {
        let pod = &mut self.pods[at];
        pod.starts += 1;
        let incarnation = Incarnation {
            uid: pod.uid,
            start: pod.starts,
        };
        let config = Config { retry_ms: 1_000 };
        let mut machine = Machine::new(pod.index, incarnation, pod.saved.clone(), config);
        if let Flaw::Machine(mutation) = self.flaw {
            machine.mutation = Some(mutation);
        }
        let actions = machine.begin(self.now_ms);
        let id = (at, pod.starts);
        pod.process = Some(Process {
            id,
            machine,
            plant: Plant::new(pod.starts),
            jobs: Vec::new(),
            read: 0,
            believed: BTreeMap::new(),
        });
        self.act(id, actions)
    }

    fn end(&mut self, id: ProcessId) {
        self.pods[id.0].process = None;
    }

    fn step(&mut self, id: ProcessId, event: Event) -> Result<(), String> {
        let now_ms = self.now_ms;
        let process = self.pods[id.0].process.as_mut().unwrap();
        let actions = process.machine.step(now_ms, event);
        self.act(id, actions)
    }

    fn finish_job(&mut self, at: usize, job: usize, complete: bool) -> Result<(), String> {
        let process = self.pods[at].process.as_mut().unwrap();
        let id = process.id;
        let event = match process.jobs.remove(job) {
            Job::Opened(epoch) => Event::Opened { epoch },
            Job::Drained(ballot, wave) => Event::Drained {
                ballot,
                wave,
                complete,
                traffic: Vec::new(),
            },
            Job::Snapshotted(ballot) => Event::Snapshotted { ballot },
            Job::Installed(ballot) => Event::Installed { ballot },
        };
        self.step(id, event)
    }

    /// The connection over which a process reaches the life of a peer that its machine has a link to.
    fn route(&self, from: ProcessId, to: WorkerIndex) -> Option<(usize, usize)> {
        let life = self.process(from).machine.links.get(&to)?.incarnation;
        self.connections
            .iter()
            .enumerate()
            .rev()
            .find_map(|(at, connection)| {
                let side = connection.between.iter().position(|&id| id == from)?;
                let peer = connection.between[1 - side];
                let usable = connection.ends[side].up && !connection.ends[side].closed && !connection.cut;
                let right = self.pods[peer.0].index == to && self.incarnation(peer) == life;
                (usable && right).then_some((at, 1 - side))
            })
    }

    fn act(&mut self, id: ProcessId, actions: Vec<Action>) -> Result<(), String> {
        let shape = self.shape;
        for action in actions {
            let process = self.pods[id.0].process.as_mut().unwrap();
            match action {
                Action::Send { to, message } => {
                    if let Some((at, side)) = self.route(id, to) {
                        self.connections[at].ends[side].control.push_back(message);
                    }
                }
                Action::Save(saved) => self.pods[id.0].saved = saved,
                Action::Open(plan) => process.jobs.push(Job::Opened(plan.epoch)),
                Action::PauseSpouts => process.plant.spouts_on = false,
                Action::Drain { ballot, wave, .. } => {
                    process.jobs.retain(|job| !matches!(job, Job::Drained(..)));
                    process.jobs.push(Job::Drained(ballot, wave));
                }
                Action::Snapshot { tasks, tag } => {
                    for task in tasks {
                        process.plant.snapshot(&shape, CopyId { task, tag });
                    }
                    process.jobs.push(Job::Snapshotted(tag));
                }
                Action::SendCopy { to, ballot, copy } => {
                    let content = process.plant.copies.get(&copy).cloned();
                    if let (Some((at, side)), Some(content)) = (self.route(id, to), content) {
                        self.connections[at].ends[side]
                            .copies
                            .push_back((ballot, copy, content));
                    }
                }
                Action::Install { ballot, tasks } => {
                    let plant = &mut process.plant;
                    plant.prepared = tasks
                        .into_iter()
                        .map(|install| {
                            let copy = install.copy.and_then(|copy| plant.copies.get(&copy).cloned());
                            (install.task, copy.unwrap_or_else(|| shape.empty(install.task)))
                        })
                        .collect();
                    process.jobs.push(Job::Installed(ballot));
                }
                Action::DropTasks => {
                    process.plant.tasks.clear();
                    process.plant.copies.clear();
                    process.plant.prepared.clear();
                }
                Action::EmptyQueues { below } => process.plant.inbox.retain(|packet| packet.epoch >= below),
                Action::Commit(committed) => {
                    let index = self.pods[id.0].index;
                    let process = self.pods[id.0].process.as_mut().unwrap();
                    process.plant.commit(&shape, committed.plan.tasks_of(index));
                }
                Action::StartSpouts => {
                    process.plant.spouts_on = true;
                    process
                        .plant
                        .tasks
                        .values_mut()
                        .for_each(|task| task.frozen = false);
                }
                Action::DropCopies { through } => {
                    process.plant.copies.retain(|copy, _| copy.tag.epoch > through);
                }
                Action::CloseOlder { peer, incarnation } => self.close_others(id, peer, Some(incarnation)),
                Action::Refuse {
                    peer, incarnation, ..
                } => self.close_life(id, peer, incarnation),
                Action::PeerRuns { .. } => {}
                Action::Exit(_) => {
                    self.end(id);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// A newer life of a peer came: what older ones sent is dropped. What is still on its way may come yet.
    fn close_others(&mut self, id: ProcessId, peer: WorkerIndex, stays: Option<Incarnation>) {
        let older: Vec<ProcessId> = (self.connections.iter())
            .filter_map(|connection| {
                let side = connection.between.iter().position(|&end| end == id)?;
                let other = connection.between[1 - side];
                let right = self.pods[other.0].index == peer && Some(self.incarnation(other)) != stays;
                (right && connection.ends[side].up).then_some(other)
            })
            .collect();
        let keep: Vec<bool> = (self.pods.iter()).map(|pod| pod.index != peer).collect();
        let stays_id = stays.and_then(|life| {
            let pod = self
                .pods
                .iter()
                .position(|pod| pod.index == peer && pod.uid == life.uid)?;
            Some((pod, life.start))
        });
        let process = self.pods[id.0].process.as_mut().unwrap();
        process
            .plant
            .inbox
            .retain(|packet| keep[packet.from.0] || Some(packet.from) == stays_id);
        for connection in &mut self.connections {
            if let Some(side) = connection.between.iter().position(|&end| end == id)
                && older.contains(&connection.between[1 - side])
            {
                connection.ends[side].data.clear();
            }
        }
    }

    fn close_life(&mut self, id: ProcessId, peer: WorkerIndex, life: Incarnation) {
        for at in 0..self.connections.len() {
            let between = self.connections[at].between;
            let Some(side) = between.iter().position(|&end| end == id) else {
                continue;
            };
            let other = between[1 - side];
            if self.pods[other.0].index == peer && self.incarnation(other) == life {
                self.close(at, side);
                let process = self.pods[id.0].process.as_mut().unwrap();
                process.plant.inbox.retain(|packet| packet.from != other);
            }
        }
    }

    fn emit(&mut self, at: usize) {
        let shape = self.shape;
        let process = self.pods[at].process.as_mut().unwrap();
        let spout = process.plant.emitter(&shape).unwrap();
        let (root, attempt) = process.plant.emit(spout).unwrap();
        let (from, epoch, task) = (process.id, process.machine.epoch(), shape.bolt_of(root));
        self.ship(
            at,
            task,
            Packet {
                from,
                epoch,
                task,
                spout,
                root,
                attempt,
                is_ack: false,
            },
        );
    }

    /// Sends a packet to the owner of a task, or drops it if the owner cannot be reached.
    fn ship(&mut self, at: usize, task: crate::epoch::TaskId, packet: Packet) {
        let index = self.pods[at].index;
        let process = self.pods[at].process.as_mut().unwrap();
        let Some(to) = process
            .machine
            .running()
            .and_then(|plan| owner(&plan.placement, task))
        else {
            return;
        };
        if to == index {
            process.plant.inbox.push_back(packet);
        } else if let Some((connection, side)) = self.route(packet.from, to) {
            self.connections[connection].ends[side].data.push_back(packet);
        }
    }

    fn apply(&mut self, at: usize) -> Result<(), String> {
        let process = self.pods[at].process.as_mut().unwrap();
        let next = process.applicable().unwrap();
        let packet = process.plant.inbox.remove(next).unwrap();
        let (id, epoch) = (process.id, process.machine.epoch());
        let sender = self.pods[packet.from.0].index;
        if packet.epoch != epoch {
            return Err(format!("S1: {id:?} in {epoch:?} applies {packet:?}"));
        }
        if sender != self.pods[at].index
            && self
                .process(id)
                .believed
                .get(&sender)
                .is_some_and(|&newest| packet.from < newest)
        {
            return Err(format!("S1: {id:?} applies {packet:?} of an older life"));
        }
        if packet.is_ack {
            let process = self.pods[at].process.as_mut().unwrap();
            if process.plant.take_ack(&packet) && !self.is_abandoned(id) {
                self.ghost.acked.insert(packet.root);
            }
            return Ok(());
        }
        let process = self.pods[at].process.as_mut().unwrap();
        if let Some(task) = process.plant.tasks.get_mut(&packet.task)
            && let Content::Bolt(roots) = &mut task.content
        {
            roots.insert(packet.root);
            if !self.is_abandoned(id) && epoch >= self.ghost.started {
                self.ghost.hold(packet.task, id, [packet.root]);
            }
            self.ship(
                at,
                packet.spout,
                Packet {
                    from: id,
                    is_ack: true,
                    ..packet
                },
            );
        }
        Ok(())
    }
}

impl Process {
    /// Whether nothing of its own is in flight.
    pub(super) fn is_idle(&self) -> bool {
        !self.plant.spouts_on && self.plant.in_flight() == 0 && self.applicable().is_none()
    }

    /// The first packet whose task is not frozen.
    fn applicable(&self) -> Option<usize> {
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

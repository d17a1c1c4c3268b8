//! What a runtime does with the actions of its machine, and a small data plane's moves.
//!
//! Owns: the contract of [`Action`], in order. Leaves to others: when anything happens ([`super::world`]).

use std::collections::BTreeMap;

use super::plant::{Content, Packet, Plant, ProcessId, owner};
use super::world::{Flaw, Job, Process, World};
use crate::epoch::mutation::Mutation;
use crate::epoch::{Action, Config, CopyId, Event, Incarnation, Machine, WorkerIndex};

impl World {
    pub(super) fn start(&mut self, at: usize) -> Result<(), String> {
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

    pub(super) fn end(&mut self, id: ProcessId) {
        self.pods[id.0].process = None;
    }

    pub(super) fn step(&mut self, id: ProcessId, event: Event) -> Result<(), String> {
        let now_ms = self.now_ms;
        let process = self.pods[id.0].process.as_mut().unwrap();
        let actions = process.machine.step(now_ms, event);
        self.act(id, actions)
    }

    pub(super) fn finish_job(&mut self, at: usize, job: usize, complete: bool) -> Result<(), String> {
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
                Action::Snapshot { tasks, since, tag } => {
                    for task in tasks {
                        process.plant.snapshot(&shape, CopyId { task, since, tag });
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
                Action::Install { ballot, plan, tasks } => {
                    process.plant.prepared.clear();
                    for install in &tasks {
                        process.plant.prepare(&shape, &plan, install);
                    }
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
                    let mixes = process.machine.lacks(Mutation::NumberingsMixed);
                    process.plant.commit(&shape, &committed.plan, index, mixes);
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

    pub(super) fn emit(&mut self, at: usize) {
        let shape = self.shape;
        let process = self.pods[at].process.as_mut().unwrap();
        let spout = process.plant.emitter(&shape).unwrap();
        let (root, attempt) = process.plant.emit(spout).unwrap();
        let bolts = process.machine.running().map_or(1, |plan| plan.numbers.of[1]);
        let (from, epoch, task) = (process.id, process.machine.epoch(), shape.bolt_of(root, bolts));
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

    pub(super) fn apply(&mut self, at: usize) -> Result<(), String> {
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
                self.ghost.hold(id, [packet.root]);
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

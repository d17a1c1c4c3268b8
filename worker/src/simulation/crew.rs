//! The processes of a simulated world: pods with their volumes, and what runs next.
//!
//! Owns: when a process begins and ends, whose turn it is, virtual time going on. Leaves to others: what a worker does
//! ([`crate::worker`]), what goes wrong ([`super::faults`]), plans ([`super::operator`]).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use waterspout_core::epoch::{ExitReason, Incarnation, Machine, Phase};
use waterspout_core::finish::TaskState;
use waterspout_core::placement::WorkerIndex;

use super::World;
use super::rim::{self, ProcessId};
use crate::discovery::Discovery;
use crate::runtime::Node;
use crate::status::StatusSource;
use crate::transport::simulated::Port;
use crate::transport::{PeerId, Transport};
use crate::volume::Memory;
use crate::worker::simulated::{self, Start};
use crate::worker::{WorkerError, chain};

/// How many slices a worker runs at a time.
const LANES: usize = 2;
/// What a slice costs beside the work in it, in microseconds.
const SLICE: u64 = 4;

/// A place for a worker, with what outlives its processes.
pub(crate) struct Pod {
    pub(crate) worker: u32,
    pub(crate) uid: u64,
    files: Memory,
    starts: u64,
    pub(crate) address: SocketAddr,
    pub(crate) process: Option<Process>,
    /// When its process begins, or begins again.
    pub(crate) begins_at: Option<u64>,
    pub(crate) is_deleted: bool,
}

/// A running process.
pub(crate) struct Process {
    pub(crate) id: ProcessId,
    pub(crate) node: Arc<Node>,
    pub(crate) transport: Arc<Transport>,
    pub(crate) status: Arc<StatusSource>,
    pub(crate) machine: Arc<Mutex<Machine>>,
    began: u64,
    lanes: [u64; LANES],
    /// It does nothing before.
    pub(crate) stopped_until: u64,
    /// What was said of it last.
    said: String,
}

impl Process {
    pub(crate) fn phase(&self) -> Phase {
        self.machine
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .phase()
    }

    /// Whether it knows a newer plan than the one that runs.
    pub(crate) fn knows_newer(&self) -> bool {
        let machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        machine
            .newest_plan()
            .is_some_and(|plan| plan.epoch > machine.epoch())
    }

    /// Whether a task here has come to its end, or is about to.
    pub(crate) fn is_finishing(&self) -> bool {
        let mut slots = self.node.slots();
        slots.any(|slot| slot.published().state != TaskState::Running)
    }

    /// The newest epoch that it knows to be started.
    pub(crate) fn started(&self) -> u64 {
        let machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        if machine.is_started() {
            machine.epoch().0
        } else {
            0
        }
    }

    fn is_stopped(&self) -> bool {
        rim::now() < self.stopped_until
    }

    fn has_lane(&self) -> bool {
        self.lanes.iter().any(|&until| until <= rim::now())
    }
}

/// How processes ended.
pub(crate) type Ends = Arc<Mutex<Vec<(ProcessId, Result<(), WorkerError>)>>>;

impl World {
    /// Makes a pod for a worker.
    pub(crate) fn new_pod(&mut self, worker: u32, begins_at: u64) -> u64 {
        let uid = self.pods.len() as u64 + 1;
        self.pods.push(Pod {
            worker,
            uid,
            files: Memory::default(),
            starts: 0,
            address: SocketAddr::from(([10, 0, (uid >> 8) as u8, uid as u8], 7000)),
            process: None,
            begins_at: Some(begins_at),
            is_deleted: false,
        });
        uid
    }

    /// The newest pod of a worker.
    pub(crate) fn pod(&mut self, worker: u32) -> Option<&mut Pod> {
        self.pods
            .iter_mut()
            .rfind(|pod| pod.worker == worker && !pod.is_deleted)
    }

    pub(crate) fn processes(&self) -> impl Iterator<Item = (&Pod, &Process)> {
        self.pods
            .iter()
            .filter_map(|pod| Some((pod, pod.process.as_ref()?)))
    }

    /// Begins the processes whose time has come.
    fn begin_processes(&mut self) {
        let now = rim::now();
        for at in 0..self.pods.len() {
            if self.pods[at].begins_at.is_none_or(|begins| begins > now) {
                continue;
            }
            self.pods[at].begins_at = None;
            self.begin_process(at);
        }
    }

    fn begin_process(&mut self, at: usize) {
        self.next_process += 1;
        let id = self.next_process;
        let pod = &mut self.pods[at];
        pod.starts += 1;
        let me = PeerId {
            index: WorkerIndex(pod.worker),
            incarnation: Incarnation {
                uid: pod.uid,
                start: pod.starts,
            },
        };
        self.audit.lock().began(id, me);
        let (address, worker) = (pod.address, pod.worker);
        // One that was replaced may begin again before it is deleted.
        let uid = me.incarnation.uid;
        if self.pod(worker).is_some_and(|newest| newest.uid == uid) {
            self.board.addresses().insert(worker, address);
        }
        let start = Start {
            me,
            plan: self.board.newest(),
            files: Arc::clone(&self.pods[at].files),
            components: self.components.clone(),
            discovery: Discovery::Simulated(self.board.discovery(id)),
            dial: Arc::new(Port {
                network: self.network.clone(),
                process: id,
                worker,
            }),
            address,
            audit: self.audit.clone(),
        };
        let mut started = None;
        rim::within_process(id, || started = Some(simulated::start(start)));
        let started = started
            .expect("it ran")
            .expect("what a volume holds was written by a process before");
        self.audit.lock().runs(id, &started.node);
        self.network
            .listen(address, id, worker, started.transport.incoming());
        let (ends, life) = (Arc::clone(&self.ends), started.life);
        rim::spawn_in(id, async move {
            let ended = life.await.map(|_| ());
            ends.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((id, ended));
        });
        self.say(&format!(
            "{me} of pod {} begins as process {id}",
            me.incarnation.uid
        ));
        self.pods[at].process = Some(Process {
            id,
            node: started.node,
            transport: started.transport,
            status: started.status,
            machine: started.machine,
            began: rim::now(),
            lanes: [0; LANES],
            stopped_until: 0,
            said: String::new(),
        });
    }

    /// Ends a process where it is.
    pub(crate) fn end_process(&mut self, id: ProcessId, has_handed_over: bool) {
        self.say(&format!("process {id} is over"));
        self.audit.lock().over(id, has_handed_over);
        self.network.end_process(id);
        let pod = self
            .pods
            .iter_mut()
            .find(|pod| pod.process.as_ref().is_some_and(|process| process.id == id));
        let process = pod.and_then(|pod| pod.process.take());
        // What is dropped may look at the time, and whose code runs.
        rim::within_process(id, || {
            rim::end_process(id);
            drop(process);
        });
    }

    /// Notices processes that ended by themselves. Their parents start the next ones.
    fn notice_ends(&mut self) {
        let ended = std::mem::take(&mut *self.ends.lock().unwrap_or_else(PoisonError::into_inner));
        for (id, ended) in ended {
            let has_handed_over = matches!(ended, Err(WorkerError::Over(ExitReason::Left)));
            match &ended {
                Ok(()) | Err(WorkerError::Over(_)) => self.say(&format!("process {id} ends: {ended:?}")),
                Err(error) => {
                    let text = format!("process {id} cannot go on: {}", chain(error));
                    self.audit.lock().violate(text);
                }
            }
            let pod = self
                .pods
                .iter_mut()
                .find(|pod| pod.process.as_ref().is_some_and(|process| process.id == id));
            if let Some(pod) = pod
                && !pod.is_deleted
            {
                pod.begins_at = Some(rim::now() + 20_000 + rim::below(100_000));
            }
            self.end_process(id, has_handed_over);
        }
    }

    /// Lets one thing happen: a future goes on, or a task has a slice. False if nothing can at this time.
    fn run_something(&mut self) -> bool {
        let stopped: BTreeMap<ProcessId, bool> = self
            .processes()
            .map(|(_, process)| (process.id, process.is_stopped()))
            .collect();
        let futures = rim::ready(|process| !stopped.get(&process).copied().unwrap_or(false));
        let workers: Vec<usize> = (0..self.pods.len())
            .filter(|&at| {
                self.pods[at].process.as_ref().is_some_and(|process| {
                    process.node.ready() > 0 && !process.is_stopped() && process.has_lane()
                })
            })
            .collect();
        let all = futures.len() + workers.len();
        if all == 0 {
            return false;
        }
        let chosen = rim::below(all as u64) as usize;
        self.steps += 1;
        if let Some(&future) = futures.get(chosen) {
            let process = rim::poll(future);
            self.audit.lock().step(6, process << 32 | future);
            return true;
        }
        let process = self.pods[workers[chosen - futures.len()]]
            .process
            .as_mut()
            .expect("it has tasks that are ready");
        let (node, second) = (Arc::clone(&process.node), rim::below(2) == 0);
        let mut task = None;
        let took = rim::within_process(process.id, || task = node.run_one(second));
        let until = rim::now() + SLICE + took;
        if let Some(lane) = process.lanes.iter_mut().find(|lane| **lane <= rim::now()) {
            *lane = until;
        }
        let id = process.id;
        self.audit
            .lock()
            .step(7, id << 32 | u64::from(task.unwrap_or_default()));
        true
    }

    /// When something can happen next.
    fn next_time(&mut self) -> Option<u64> {
        let now = rim::now();
        let mut times: Vec<u64> = rim::wake_sleepers().into_iter().collect();
        for pod in &mut self.pods {
            times.extend(pod.begins_at);
            let Some(process) = &mut pod.process else { continue };
            if now < process.stopped_until {
                times.push(process.stopped_until);
                continue;
            }
            let mut next = None;
            rim::within_process(process.id, || next = process.node.fire_timers());
            times.extend(next.map(|at| process.began + at));
            if process.node.ready() > 0 {
                times.extend(process.lanes.iter().copied().filter(|&until| until > now));
                if process.has_lane() {
                    times.push(now);
                }
            }
        }
        times.into_iter().min()
    }

    /// Lets the world go on until the next thing has happened, or until a moment. False if that has come.
    pub(crate) fn go_on(&mut self, until: u64) -> bool {
        self.begin_processes();
        self.notice_ends();
        if self.run_something() {
            return true;
        }
        let next = self.next_time().unwrap_or(until);
        // A timer that was just fired has made something ready.
        if next > rim::now() {
            if next >= until {
                rim::set_now(until);
                return false;
            }
            rim::set_now(next);
        }
        true
    }

    /// Says where the workers are, if that has changed.
    pub(crate) fn say_phases(&mut self) {
        let mut news = Vec::new();
        for pod in &mut self.pods {
            if let Some(process) = &mut pod.process {
                let (phase, epoch) = (process.phase(), process.node.epoch());
                let text = format!("worker {} is {phase:?} in epoch {epoch}", pod.worker);
                if text != process.said {
                    process.said.clone_from(&text);
                    news.push(text);
                }
            }
        }
        for text in news {
            self.say(&text);
        }
    }
}

//! Discovery: what the plan is, and where the other workers are.
//!
//! Owns: the two ways to know, files of one machine ([`directory`]) and the API server ([`cluster`]). Leaves to others:
//! connecting ([`crate::transport`]), carrying a plan out ([`crate::worker`]).

pub mod cluster;
pub mod directory;

use std::net::SocketAddr;

use waterspout_core::placement::WorkerIndex;
use waterspout_core::plan::ParsedPlan;

use cluster::Cluster;
use directory::{Directory, PlanFile};

/// Where a worker's plan and peers are read.
#[derive(Debug)]
pub enum Discovery {
    /// The plan is a file, and all workers are on this machine.
    Machine(PlanFile, Option<Directory>),
    /// The workers are pods, and the plan is in a ConfigMap.
    Cluster(Cluster),
    /// The workers are simulated.
    #[cfg(test)]
    Simulated(crate::simulation::Discovery),
}

impl Discovery {
    /// The plan, if a new one was read since the last call.
    pub fn new_plan(&mut self) -> Option<ParsedPlan> {
        match self {
            Self::Machine(file, _) => file.read_again(),
            Self::Cluster(cluster) => cluster.new_plan(),
            #[cfg(test)]
            Self::Simulated(simulated) => simulated.new_plan(),
        }
    }

    /// Where a worker listens, as far as it is known.
    pub fn find(&self, worker: WorkerIndex) -> Option<SocketAddr> {
        match self {
            // A file that cannot be read now can be at the next look.
            Self::Machine(_, directory) => Some(directory.as_ref()?.find(worker).ok()??.data),
            Self::Cluster(cluster) => cluster.find(worker),
            #[cfg(test)]
            Self::Simulated(simulated) => simulated.find(worker),
        }
    }

    /// Whether the worker outlives its topology: in a cluster its log and its status are still to be read.
    pub fn stays_when_complete(&self) -> bool {
        match self {
            Self::Machine(..) => false,
            Self::Cluster(_) => true,
            #[cfg(test)]
            Self::Simulated(_) => true,
        }
    }
}

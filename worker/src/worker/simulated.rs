//! A worker without threads, sockets, files and endpoints: the same parts as in [`super::run`], for a simulation.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};

use waterspout_core::frame::Frame;
use waterspout_core::ledger::LedgerEntry;
use waterspout_core::plan::ParsedPlan;

use super::epochs::{self, Epochs, SharedMachine};
use super::inbound::Receiver;
use super::life::Life;
use super::{Ended, WorkerError};
use crate::component::Components;
use crate::discovery::Discovery;
use crate::poison::Page;
use crate::runtime::{Node, Positions, Settings};
use crate::simulation::audit::SharedAudit;
use crate::status::StatusSource;
use crate::transport::{
    Admission, ControlFault, Dial, Inbound, Origin, PeerId, Refused, Transport, TransportConfig,
};
use crate::volume::{Memory, Volume};

/// What a simulated process is started with.
pub(crate) struct Start {
    pub(crate) me: PeerId,
    pub(crate) plan: ParsedPlan,
    pub(crate) files: Memory,
    pub(crate) components: Components,
    pub(crate) discovery: Discovery,
    pub(crate) dial: Arc<dyn Dial>,
    pub(crate) address: SocketAddr,
    pub(crate) audit: SharedAudit,
}

/// The life of a worker, which is to be polled.
pub(crate) type Living = Pin<Box<dyn Future<Output = Result<Ended, WorkerError>> + Send>>;

/// A simulated process.
pub(crate) struct Started {
    pub(crate) node: Arc<Node>,
    pub(crate) transport: Arc<Transport>,
    pub(crate) status: Arc<StatusSource>,
    pub(crate) machine: SharedMachine,
    pub(crate) life: Living,
}

/// Starts a process. It does something once its life is polled.
///
/// # Errors
/// If what the volume holds cannot be used.
pub(crate) fn start(start: Start) -> Result<Started, WorkerError> {
    let me = start.me;
    let volume = Volume::in_memory(&start.files);
    let plan = Arc::new(start.plan);
    let status = Arc::new(StatusSource::new(me, &start.components));
    let machine = epochs::machine(me, &volume)?;
    let (receiver, news) = Receiver::new(Arc::clone(&plan), Arc::clone(&machine));
    let watched = Arc::new(Watched {
        receiver: Arc::clone(&receiver),
        machine: Arc::clone(&machine),
        audit: start.audit,
    });
    let config = TransportConfig::new(me, plan.topology(), start.address, None);
    let transport = Transport::over(config, watched, start.dial, start.address);
    let positions = Positions::on(&volume);
    let node = Node::without_threads(positions, Some(Arc::clone(&transport)));
    let settings = Settings {
        me: me.index,
        starts: me.incarnation.start,
        base: ".".into(),
        shared_stdout: false,
        json_stdout: false,
        components: start.components,
        page: Page::of_this_process(),
    };
    status.set_plan(&plan);
    status.attach(&node, Some(Arc::clone(&transport)));
    receiver.attach(&node);
    let epochs = Epochs::new(
        Arc::clone(&machine),
        plan,
        Arc::clone(&node),
        Some(Arc::clone(&transport)),
        volume.clone(),
        settings,
    );
    let mut life = Life::new(
        me,
        Arc::clone(&node),
        Some(Arc::clone(&transport)),
        start.discovery,
        epochs,
        volume,
        Arc::clone(&status),
        |_| {},
        Vec::new(),
    );
    Ok(Started {
        node,
        transport,
        status,
        machine,
        life: Box::pin(async move { life.run(std::future::pending(), news).await }),
    })
}

/// The receiving end of a transport, with the audit looking on.
struct Watched {
    receiver: Arc<Receiver>,
    machine: SharedMachine,
    audit: SharedAudit,
}

impl Inbound for Watched {
    fn frame(&self, origin: Origin, epoch: u64, target: u32, frame: Frame) {
        let mut audit = self.audit.lock();
        if let Some(sender) = audit.sender_of(&frame) {
            let machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
            if !machine.is_linked(sender.index, sender.incarnation) {
                audit.violate(format!(
                    "a frame of {sender} was taken, which there is no link to"
                ));
            }
        }
        drop(audit);
        self.receiver.frame(origin, epoch, target, frame);
    }

    fn entries(&self, entries: Vec<LedgerEntry>) {
        self.receiver.entries(entries);
    }

    fn lost(&self, about: PeerId) {
        self.receiver.lost(about);
    }

    fn control(&self, from: PeerId, message: Vec<u8>) -> Result<(), ControlFault> {
        self.receiver.control(from, message)
    }

    fn peer_up(&self, peer: PeerId) {
        self.receiver.peer_up(peer);
    }

    fn peer_down(&self, peer: PeerId, reason: &str) {
        self.receiver.peer_down(peer, reason);
    }

    fn admits(&self, peer: PeerId, epoch: u64) -> Result<Admission, Refused> {
        self.receiver.admits(peer, epoch)
    }

    fn has_part(&self, peer: PeerId) -> bool {
        self.receiver.has_part(peer)
    }

    fn fields(&self, stream: u16) -> Option<usize> {
        self.receiver.fields(stream)
    }

    fn is_here(&self, task: u32) -> bool {
        self.receiver.is_here(task)
    }

    fn state(&self, revision: &str, epoch: u64, task: u32) -> Result<Arc<[u8]>, Refused> {
        self.receiver.state(revision, epoch, task)
    }
}

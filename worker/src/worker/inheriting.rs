//! Taking over from another revision: the states that tasks here start with, fetched from workers of the revision that
//! rests.
//!
//! Owns: asking for them, again and again for a while. Leaves to others: when (`waterspout_core::epoch`), handing them to
//! tasks ([`super::epochs`]), the bytes ([`crate::transport`]). Invariant: a state that is not to be had in time is lost, as
//! in a crash; it holds nobody up for longer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::oneshot;
use waterspout_core::epoch::{Inheritance, Inherited, PLAIN};
use waterspout_core::placement::WorkerIndex;
use waterspout_core::plan::ParsedPlan;

use crate::rim::{self, Instant, Tasks};
use crate::transport::Transport;

/// How long states are asked for.
const PATIENCE: Duration = Duration::from_secs(3);
/// How soon a state that was not to be had is asked for again.
const PAUSE: Duration = Duration::from_millis(20);
/// How many states are asked for at a time.
const CONCURRENCY: usize = 8;

/// A state, and which task starts with it how.
type State = (Inherited, Vec<u8>);
/// What a task starts with: whether only its own keys of it are its, and the states.
pub(super) type Start = (bool, Vec<Vec<u8>>);

/// States that are on their way to this worker.
pub(super) struct Inheriting {
    pub(super) plan: ParsedPlan,
    states: oneshot::Receiver<Vec<State>>,
    /// Ends with this value.
    _fetching: Tasks,
}

impl Inheriting {
    /// Begins to fetch what `plan` says that tasks of `me` take over.
    pub(super) fn begin(
        transport: &Arc<Transport>,
        plan: ParsedPlan,
        inheritance: &Inheritance,
        me: WorkerIndex,
    ) -> Self {
        let here = |state: &&Inherited| plan.placement().get(state.task.0 as usize) == Some(&me);
        let wanted: Vec<Inherited> = inheritance.states.iter().filter(here).copied().collect();
        tracing::info!(
            epoch = plan.plan().epoch.0,
            states = wanted.len(),
            from = inheritance.revision,
            "takes over from another revision"
        );
        let (done, states) = oneshot::channel();
        let fetching = Tasks::new();
        let (transport, inheritance) = (Arc::clone(transport), inheritance.clone());
        fetching.spawn(async move {
            let until = Instant::now() + PATIENCE;
            let fetches = wanted.into_iter().map(|state| {
                let (transport, inheritance) = (Arc::clone(&transport), &inheritance);
                async move { fetch(&transport, inheritance, state, until).await }
            });
            let found = futures::stream::iter(fetches).buffer_unordered(CONCURRENCY);
            let found: Vec<Option<State>> = found.collect().await;
            // Nobody waits for it any more if another plan came meanwhile.
            let _ = done.send(found.into_iter().flatten().collect());
        });
        Self {
            plan,
            states,
            _fetching: fetching,
        }
    }

    /// What tasks start with, once all is here that is to be had; no state is empty.
    pub(super) fn arrived(&mut self) -> Option<BTreeMap<u32, Start>> {
        let states = match self.states.try_recv() {
            Ok(states) => states,
            Err(oneshot::error::TryRecvError::Empty) => return None,
            Err(oneshot::error::TryRecvError::Closed) => Vec::new(),
        };
        let mut starts: BTreeMap<u32, Start> = BTreeMap::new();
        for (state, bytes) in states.into_iter().filter(|(_, bytes)| !bytes.is_empty()) {
            let (by_key, states) = starts.entry(state.task.0).or_default();
            *by_key |= state.by_key;
            states.push(bytes);
        }
        Some(starts)
    }
}

async fn fetch(
    transport: &Transport,
    inheritance: &Inheritance,
    state: Inherited,
    until: Instant,
) -> Option<State> {
    let at = inheritance.workers.get(&state.at)?;
    let plain = at.strip_prefix(PLAIN);
    let Ok(address) = plain.unwrap_or(at).parse() else {
        tracing::error!(
            worker = at,
            "the plan gives no address with a port; a task goes on without what it was to take over"
        );
        return None;
    };
    loop {
        let left = until - Instant::now();
        let (revision, epoch) = (&inheritance.revision, inheritance.epoch.0);
        let asked = transport.take_state(address, plain.is_some(), revision, epoch, state.of.0);
        let why = match rim::within(left, asked).await {
            Some(Ok(bytes)) => return Some((state, bytes)),
            Some(Err(why)) => why,
            None => "no answer".to_owned(),
        };
        if Instant::now() + PAUSE >= until {
            tracing::warn!(
                task = state.task.0,
                worker = at,
                why,
                "what a task was to take over is not to be had: it goes on without"
            );
            return None;
        }
        rim::sleep(PAUSE).await;
    }
}

//! Who is on the other side of a link, and whether to listen.
//!
//! Owns: links, the order of a peer's lives, who is refused, who is let in, and what is told to whom. Leaves to others:
//! what orders do ([`super::member`]) and what answers do ([`super::coordinator`]).
//!
//! Invariants: at most one link per index, to the newest life seen; a link to a peer that the newest plan gave up or
//! replaced is closed at once.

use super::io::{Action, ExitReason, Refusal};
use super::machine::Machine;
use super::member::Stage;
use super::message::{Hello, Message, State};
use super::mutation::Mutation;
use super::plan::Member;
use super::types::{Ballot, Committed, Epoch, Incarnation, WorkerIndex};

/// A link that is up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Link {
    pub(super) incarnation: Incarnation,
    pub(super) state: State,
    /// The committed ballot for which the runtime knows that the peer runs.
    pub(super) routed: Option<Ballot>,
}

impl Machine {
    /// Whether frames of this life of a peer, sent in `epoch`, are to be applied here.
    ///
    /// # Errors
    /// Why not. [`Refusal::OtherEpoch`] and [`Refusal::NotJoined`] may pass with time; after the others the stream
    /// is to be closed.
    pub fn accepts(&self, peer: WorkerIndex, incarnation: Incarnation, epoch: Epoch) -> Result<(), Refusal> {
        if peer != self.me {
            self.standing(peer, incarnation)?;
            match self.links.get(&peer) {
                Some(link) if link.incarnation == incarnation => {}
                Some(_) if self.lacks(Mutation::LivesUnordered) => {}
                _ => return Err(Refusal::NoLink),
            }
        }
        if self.was_given_up(peer, epoch) {
            return Err(Refusal::GivenUp);
        }
        match &self.committed {
            Some(committed) if self.joined && committed.epoch() == epoch => Ok(()),
            Some(_) if self.joined => Err(Refusal::OtherEpoch),
            _ => Err(Refusal::NotJoined),
        }
    }

    /// Whether this life of a peer counts, by the newest plan and by what was seen of it.
    pub(super) fn standing(&self, peer: WorkerIndex, incarnation: Incarnation) -> Result<(), Refusal> {
        let committed = self.committed.as_ref().map(|committed| &committed.plan);
        let Some(plan) = self.plan.as_ref().or(committed) else {
            return Err(Refusal::Stranger);
        };
        if plan.has_given_up(peer) && !self.lacks(Mutation::GivenUpLetIn) {
            return Err(Refusal::GivenUp);
        }
        let named = plan
            .member(peer)
            .or_else(|| plan.ask.iter().find(|member| member.index == peer))
            .or_else(|| committed?.asked(peer));
        match named {
            Some(member) if member.uid == incarnation.uid => {}
            Some(_) if self.lacks(Mutation::NewPodJoins) => {}
            None if self.lacks(Mutation::GivenUpLetIn) => {}
            Some(_) => return Err(Refusal::OtherPod),
            None => return Err(Refusal::Stranger),
        }
        match self.seen.get(&peer) {
            Some(seen)
                if seen.uid == incarnation.uid
                    && seen.start > incarnation.start
                    && !self.lacks(Mutation::LivesUnordered) =>
            {
                Err(Refusal::OldIncarnation)
            }
            _ => Ok(()),
        }
    }

    /// Whether a worker was given up, or its pod replaced, after this epoch was made: what it does in that epoch does
    /// not count, also if it is named again.
    pub(super) fn was_given_up(&self, worker: WorkerIndex, epoch: Epoch) -> bool {
        let since = self
            .plan
            .as_ref()
            .map_or(Epoch(0), |plan| match plan.asked(worker) {
                Some(member) => member.since,
                None if plan.has_given_up(worker) => plan.epoch,
                None => Epoch(0),
            });
        epoch < since && !self.lacks(Mutation::GivenUpLetIn)
    }

    /// Whether this life of a peer is listened to.
    pub fn is_linked(&self, peer: WorkerIndex, incarnation: Incarnation) -> bool {
        let link = self.links.get(&peer);
        link.is_some_and(|link| link.incarnation == incarnation)
    }

    /// Whether a worker of the epoch that runs here is not linked, so that what it has cannot be worked off.
    pub fn lacks_a_worker(&self) -> bool {
        self.running().is_some_and(|plan| {
            let others = plan.members.iter().filter(|member| member.index != self.me);
            let is_linked = |member: &Member| {
                let link = self.links.get(&member.index);
                link.is_some_and(|link| link.incarnation.uid == member.uid)
            };
            !others.into_iter().all(is_linked)
        })
    }

    pub(super) fn on_peer_up(&mut self, peer: WorkerIndex, incarnation: Incarnation, hello: Hello) {
        if let Some(plan) = hello.plan {
            self.learn(plan);
        }
        if self.exited.is_some() {
            return;
        }
        if peer == self.me {
            if incarnation.uid == self.incarnation.uid && incarnation.start > self.incarnation.start {
                self.exit(ExitReason::Outlived);
            }
            return;
        }
        if let Err(refusal) = self.standing(peer, incarnation) {
            self.out.push(Action::Refuse {
                peer,
                incarnation,
                refusal,
            });
            return;
        }
        if self.seen.insert(peer, incarnation) != Some(incarnation) {
            self.out.push(Action::CloseOlder { peer, incarnation });
        }
        self.links.insert(
            peer,
            Link {
                incarnation,
                state: hello.state,
                routed: None,
            },
        );
        // The peer's word may be older than this link; so may ours.
        self.send(peer, Message::State(self.state()));
        self.on_state(peer, hello.state);
        if self.exited.is_none() {
            self.resend_copies(peer);
            self.rounds_meet(peer, incarnation);
        }
    }

    pub(super) fn on_peer_lost(&mut self, peer: WorkerIndex, incarnation: Incarnation) {
        if self
            .links
            .get(&peer)
            .is_some_and(|link| link.incarnation == incarnation)
        {
            self.links.remove(&peer);
        }
    }

    /// Closes links that the newest plan does not stand for any more.
    pub(super) fn review_links(&mut self) {
        let links: Vec<_> = self
            .links
            .iter()
            .map(|(&peer, link)| (peer, link.incarnation))
            .collect();
        for (peer, incarnation) in links {
            if let Err(refusal) = self.standing(peer, incarnation) {
                self.links.remove(&peer);
                self.out.push(Action::Refuse {
                    peer,
                    incarnation,
                    refusal,
                });
            }
        }
    }

    /// How this worker stands, for its peers.
    pub(super) fn state(&self) -> State {
        State {
            committed: self.committed.as_ref().map(|committed| committed.ballot),
            joined: self.joined,
            started: self.started,
        }
    }

    pub(super) fn on_state(&mut self, peer: WorkerIndex, state: State) {
        match self.links.get_mut(&peer) {
            Some(link) => link.state = state,
            None => return,
        }
        let Some(theirs) = state.committed else {
            self.welcome(peer);
            return;
        };
        if state.joined && self.was_given_up(peer, theirs.epoch) {
            return;
        }
        let mine = self.committed.as_ref().map(|committed| committed.ballot.epoch);
        if state.joined && Some(theirs.epoch) > mine {
            self.meet_higher(theirs);
        }
        self.start_with_peers();
        self.welcome(peer);
    }

    /// Starts if a peer has started the epoch that is committed here: it was told to, so all have committed.
    pub(super) fn start_with_peers(&mut self) {
        let Some(mine) = self.committed.as_ref().map(|committed| committed.ballot) else {
            return;
        };
        let waits = self.joined && self.started < mine.epoch && self.exited.is_none();
        let promised = self.promised.is_some_and(|promised| promised.epoch > mine.epoch);
        let told = self.links.iter().any(|(&peer, link)| {
            !self.was_given_up(peer, mine.epoch)
                && link.state.joined
                && link.state.committed == Some(mine)
                && link.state.started >= mine.epoch
        });
        if waits && !promised && told {
            self.start();
        }
    }

    /// A peer runs an epoch that is newer than what is committed here.
    fn meet_higher(&mut self, theirs: Ballot) {
        let obeyed = self
            .promised
            .is_some_and(|promised| promised.epoch >= theirs.epoch);
        let ready = self
            .ready
            .as_ref()
            .filter(|ready| ready.ballot == theirs)
            .cloned();
        match ready {
            Some(ready) if self.promised == Some(theirs) && !self.lacks(Mutation::ExitOnHigherEpoch) => {
                self.commit(ready);
                self.stage = Stage::Committed;
            }
            _ if obeyed && !self.lacks(Mutation::ExitOnHigherEpoch) => {}
            _ => {
                self.told = self.told.max(theirs.epoch);
                self.save();
                if self.joined {
                    self.exit(ExitReason::MadeWithout(theirs.epoch));
                }
            }
        }
    }

    /// Lets a peer in that runs nothing, or tells the runtime that it runs.
    pub(super) fn welcome(&mut self, peer: WorkerIndex) {
        let Some(committed) = self.committed.clone() else {
            return;
        };
        let (runs, lets_in) = (self.joined, self.lets_in());
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        if !runs {
            return;
        }
        if link.state.joined {
            if link.state.committed == Some(committed.ballot) && link.routed != Some(committed.ballot) {
                link.routed = Some(committed.ballot);
                self.out.push(Action::PeerRuns {
                    peer,
                    incarnation: link.incarnation,
                });
            }
            return;
        }
        let incarnation = link.incarnation;
        let named = committed
            .plan
            .member(peer)
            .is_some_and(|member| member.uid == incarnation.uid || self.lacks(Mutation::NewPodJoins));
        let out = self.was_given_up(peer, committed.epoch());
        if lets_in && named && !out && self.standing(peer, incarnation).is_ok() {
            self.send(peer, Message::Admit(committed));
        }
    }

    pub(super) fn welcome_all(&mut self) {
        for peer in self.links.keys().copied().collect::<Vec<_>>() {
            self.welcome(peer);
        }
    }

    /// Whether a restarted worker may join what runs here: it has started, and nothing newer is promised.
    fn lets_in(&self) -> bool {
        self.is_started() && (self.stage == Stage::Idle || self.lacks(Mutation::NoPromise))
    }

    /// A peer that runs lets this worker in.
    pub(super) fn on_admit(&mut self, from: WorkerIndex, committed: Committed) {
        let epoch = committed.epoch();
        let waits = !self.joined
            && (self.promised.is_none() || self.lacks(Mutation::NoPromise))
            && self.exited.is_none();
        let newest = self
            .told
            .max(self.committed.as_ref().map(Committed::epoch).unwrap_or_default());
        let named = committed
            .plan
            .member(self.me)
            .is_some_and(|member| member.uid == self.incarnation.uid || self.lacks(Mutation::NewPodJoins));
        // Who was given up since is in neither as a host nor as a guest.
        let out = self.was_given_up(self.me, epoch) || self.was_given_up(from, epoch);
        if waits && named && !out && epoch >= newest {
            self.learn(committed.plan.clone());
            if self.exited.is_none() {
                self.join_empty(committed);
            }
        }
    }
}

//! What is kept of one peer, and the shell around its life: it feeds the machine, does what the
//! machine says, and shows its state to callers. It decides nothing.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwapOption;
use quicraft_certs::NodeId;
use rand::RngExt;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::connection::Connection;
use super::dial::dial;
use super::local::{LocalNode, lock};
use super::stats::{Counters, LastClose, LastRefusal, LinkState};
use crate::UnreachableReason;
use crate::admission::{AdmissionRefusal, ConnectionId, ProbeOutcome};
use crate::close::CloseCode;
use crate::event::Event;
use crate::life::{LifeAction, LifeEvent, LifeSettings, LifeState, PeerLife};

/// How this node stands to a peer, as callers wait for it.
#[derive(Clone, Debug)]
pub(crate) struct Phase {
    pub(crate) state: LinkState,
    pub(crate) since: Instant,
    /// Which connection is the link. Another one is news to whoever found the last one closed.
    link: Option<ConnectionId>,
}

/// Everything about one peer.
#[derive(Debug)]
pub(crate) struct PeerState {
    pub(crate) node: NodeId,
    pub(crate) life: Mutex<PeerLife>,
    /// The link. Readers take no lock.
    pub(crate) link: ArcSwapOption<Connection>,
    /// All adopted connections that are not closed yet: the link and those that drain.
    pub(crate) connections: Mutex<Vec<Arc<Connection>>>,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) counters: Counters,
    pub(crate) address: Mutex<Option<SocketAddr>>,
    pub(crate) last_problem: Mutex<Option<String>>,
    pub(crate) last_close: Mutex<Option<LastClose>>,
    pub(crate) last_refusal: Mutex<Option<LastRefusal>>,
    pub(crate) live: AtomicU32,
    pub(crate) live_max: AtomicU32,
    pub(crate) links_total: AtomicU64,
    /// Handshakes whose Hello was sent or judged here.
    pub(crate) handshakes: AtomicU64,
    /// Calls that wait for a dial.
    pub(crate) waiting: AtomicUsize,
    /// Who needs a link beside the roster: Raft clients of this peer.
    pub(crate) needs: AtomicUsize,
    /// When the last link was lost.
    pub(crate) lost_at: Mutex<Option<Instant>>,
    /// When the link is renewed, because it shows a certificate that was replaced.
    pub(crate) renewal_at: Mutex<Option<Instant>>,
    /// Wakes the keeper, because the next due time has changed.
    timer: Notify,
    kept: AtomicBool,
}

impl PeerState {
    pub(crate) fn new(node: NodeId, settings: LifeSettings) -> Self {
        let state = LinkState::Down("the roster does not know it".to_owned());
        let (phase, _) = watch::channel(Phase {
            state,
            since: Instant::now(),
            link: None,
        });
        Self {
            node,
            life: Mutex::new(PeerLife::new(settings)),
            link: ArcSwapOption::empty(),
            connections: Mutex::default(),
            phase,
            counters: Counters::default(),
            address: Mutex::default(),
            last_problem: Mutex::default(),
            last_close: Mutex::default(),
            last_refusal: Mutex::default(),
            live: AtomicU32::new(0),
            live_max: AtomicU32::new(0),
            links_total: AtomicU64::new(0),
            handshakes: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            needs: AtomicUsize::new(0),
            lost_at: Mutex::default(),
            renewal_at: Mutex::default(),
            timer: Notify::new(),
            kept: AtomicBool::new(false),
        }
    }

    // --- The machine ------------------------------------------------------------------------------

    /// Tells the peer's life what happened, and does what follows from it.
    pub(crate) fn feed(self: &Arc<Self>, local: &Arc<LocalNode>, event: LifeEvent) {
        self.step(local, |life, now| life.handle(event, now, random()));
    }

    /// Ends a probe. A silent incumbent is closed.
    pub(crate) fn probe_ended(self: &Arc<Self>, local: &Arc<LocalNode>, outcome: ProbeOutcome) {
        self.step(local, |life, now| life.probe_ended(outcome, now, random()));
    }

    /// Takes one step of the peer's life under its lock, and does what follows from it.
    pub(crate) fn step(
        self: &Arc<Self>,
        local: &Arc<LocalNode>,
        step: impl FnOnce(&mut PeerLife, Instant) -> Vec<LifeAction>,
    ) {
        let actions = {
            let mut life = lock(&self.life);
            let actions = step(&mut life, Instant::now());
            self.show(&life);
            actions
        };
        self.act(local, actions);
    }

    /// Does what the machine said, in its order. Never waits.
    pub(crate) fn act(self: &Arc<Self>, local: &Arc<LocalNode>, actions: Vec<LifeAction>) {
        for action in actions {
            match action {
                LifeAction::Dial => {
                    drop(local.spawn(dial(Arc::clone(local), Arc::clone(self))));
                }
                LifeAction::Drain(id) => {
                    if let Some(connection) = self.connection(id) {
                        self.unlink(&connection);
                        connection.drain();
                    }
                }
                LifeAction::SayDone(id) => {
                    if let Some(connection) = self.connection(id) {
                        connection.control.send_done();
                    }
                }
                LifeAction::Close(id, code) => {
                    if let Some(connection) = self.connection(id) {
                        connection.close(code, "");
                    }
                }
                LifeAction::CheckUse(id) => self.check_use(local, id),
            }
        }
        self.keep(local);
    }

    fn check_use(self: &Arc<Self>, local: &Arc<LocalNode>, id: ConnectionId) {
        if let Some(connection) = self.connection(id) {
            let since = connection.used_last();
            let quiet = LifeEvent::Quiet {
                connection: id,
                since,
            };
            self.feed(local, quiet);
        }
    }

    /// Wakes the keeper of the machine's times. The first event starts it, due or not: a node with
    /// a quiet past has as many tasks as one with a bad day behind it, so a leak can be seen.
    fn keep(self: &Arc<Self>, local: &Arc<LocalNode>) {
        if !self.kept.swap(true, Ordering::AcqRel) {
            drop(local.spawn(keeper(Arc::clone(local), Arc::clone(self))));
        } else if lock(&self.life).next_due().is_some() {
            self.timer.notify_one();
        }
    }

    /// Shows the machine's state to callers; an unchanged one keeps its time.
    pub(crate) fn show(&self, life: &PeerLife) {
        let (state, link) = (self.shown(life.state()), life.record().link());
        self.phase.send_if_modified(|phase| {
            if phase.state != state {
                phase.since = Instant::now();
            } else if phase.link == link {
                return false;
            }
            (phase.state, phase.link) = (state, link);
            true
        });
    }

    fn shown(&self, state: &LifeState) -> LinkState {
        let why = || {
            lock(&self.last_problem)
                .clone()
                .unwrap_or_else(|| "no dial yet".to_owned())
        };
        match state {
            LifeState::Idle => LinkState::Idle,
            LifeState::Grace { .. } | LifeState::Dialling => LinkState::Dialling,
            LifeState::Up { .. } => LinkState::Up,
            LifeState::Leaving => LinkState::Down("the peer shuts down".to_owned()),
            LifeState::Redialling | LifeState::Down { .. } => LinkState::Down(why()),
            LifeState::Parked { code, .. } => {
                LinkState::Parked(format!("refused by the peer: {code}"))
            }
            LifeState::Barred => {
                LinkState::Down("the roster does not know it, or bars it".to_owned())
            }
            LifeState::Stopped => LinkState::Down("this node stops".to_owned()),
        }
    }

    // --- Facts ------------------------------------------------------------------------------------

    /// Remembers why there is no link.
    pub(crate) fn problem(&self, text: &str) {
        *lock(&self.last_problem) = Some(text.to_owned());
    }

    /// Remembers a refusal of a handshake with this peer. One that another connection overtook is
    /// none: dials cross on good days.
    pub(crate) fn note_refusal(&self, by_peer: bool, reason: &'static str, detail: &str) {
        *lock(&self.last_refusal) = Some(LastRefusal {
            by_peer,
            reason,
            detail: detail.to_owned(),
            at: Instant::now(),
        });
    }

    /// This end has refused the peer, and tells everybody.
    pub(crate) fn was_refused(
        &self,
        local: &LocalNode,
        address: SocketAddr,
        refusal: &AdmissionRefusal,
    ) {
        if refusal.code != CloseCode::Superseded {
            self.note_refusal(false, refusal.code.label(), &refusal.detail);
        }
        local.events.refused(self.node, address, refusal);
    }

    /// The peer has refused this end, which tells everybody.
    pub(crate) fn refused_us(&self, local: &LocalNode, code: CloseCode) {
        if code != CloseCode::Superseded {
            self.note_refusal(true, code.label(), "");
        }
        let (peer, class) = (self.node, code.class());
        let event = Event::RefusedByPeer { peer, code, class };
        local.events.raise(event);
    }

    /// Counts a connection as a live link. Raised where admission adopts.
    pub(crate) fn count_live(&self) {
        let live = self.live.fetch_add(1, Ordering::AcqRel) + 1;
        self.live_max.fetch_max(live, Ordering::AcqRel);
        self.links_total.fetch_add(1, Ordering::Relaxed);
    }

    /// An adopted connection that is not closed yet.
    pub(crate) fn connection(&self, id: ConnectionId) -> Option<Arc<Connection>> {
        let connections = lock(&self.connections);
        let found = connections.iter().find(|connection| connection.id() == id);
        found.map(Arc::clone)
    }

    /// Takes new calls away from a connection. Returns whether it was the link.
    pub(crate) fn unlink(&self, connection: &Connection) -> bool {
        let same = |link: &Arc<Connection>| link.id() == connection.id();
        let before = self.link.rcu(|current| match current {
            Some(link) if same(link) => None,
            current => current.clone(),
        });
        before.is_some_and(|link| same(&link))
    }

    /// Forgets a connection that has ended. Returns whether it was the link.
    pub(crate) fn forget(&self, connection: &Connection) -> bool {
        lock(&self.connections).retain(|known| known.id() != connection.id());
        self.unlink(connection)
    }

    /// Lets go of all connections, because this node stops. No other is adopted from then on.
    pub(crate) fn release(&self) {
        let mut life = lock(&self.life);
        drop(life.handle(LifeEvent::Stop, Instant::now(), 0.0));
        self.show(&life);
        let link = self.link.swap(None);
        let connections = std::mem::take(&mut *lock(&self.connections));
        drop(life);
        drop((link, connections));
    }

    // --- For callers ------------------------------------------------------------------------------

    /// The link, if new calls may go to it.
    pub(crate) fn usable(&self) -> Option<Arc<Connection>> {
        self.link.load_full().filter(|link| link.takes_calls())
    }

    /// The link, once there is one. Waits for a first dial in progress, never for a later one.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; the dial goes on.
    pub(crate) async fn wait_link(
        self: &Arc<Self>,
        local: &Arc<LocalNode>,
        deadline: Instant,
    ) -> Result<Arc<Connection>, UnreachableReason> {
        if let Some(link) = self.usable() {
            return Ok(link);
        }
        let _waiting = Waiting::new(&self.waiting);
        let mut phase = self.phase.subscribe();
        loop {
            let state = phase.borrow_and_update().state.clone();
            match state {
                LinkState::Up => {
                    if let Some(link) = self.usable() {
                        return Ok(link);
                    }
                    // It has just ended, which the machine is about to hear.
                }
                LinkState::Down(reason) | LinkState::Parked(reason) => {
                    return Err(UnreachableReason::Down(reason));
                }
                LinkState::Idle => self.feed(local, LifeEvent::Wanted),
                LinkState::Dialling => {}
            }
            match timeout_at(deadline, phase.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(UnreachableReason::ShuttingDown),
                Err(_) => return Err(UnreachableReason::Dialling),
            }
        }
    }

    /// Waits until there is a link, however many dials that needs; `false` at the deadline.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; a dial goes on.
    pub(crate) async fn back(self: &Arc<Self>, local: &Arc<LocalNode>, deadline: Instant) -> bool {
        let mut phase = self.phase.subscribe();
        loop {
            // The phase first: an adoption between the two looks is not missed.
            let idle = phase.borrow_and_update().state == LinkState::Idle;
            if self.usable().is_some() {
                return true;
            }
            if idle {
                self.feed(local, LifeEvent::Wanted);
            }
            if !matches!(timeout_at(deadline, phase.changed()).await, Ok(Ok(()))) {
                return self.usable().is_some();
            }
        }
    }
}

/// Counts as one call that waits for a dial, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Tells the machine when its times have come, until this node stops.
async fn keeper(local: Arc<LocalNode>, peer: Arc<PeerState>) {
    loop {
        let due = lock(&peer.life).next_due();
        let due_time = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due_time => peer.feed(&local, LifeEvent::Due),
            () = peer.timer.notified() => {}
        }
    }
}

/// Spreads the waits of nodes that lost the same peer.
pub(crate) fn random() -> f64 {
    rand::rng().random()
}

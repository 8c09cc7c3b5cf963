//! The one task of a manager that looks at all its groups and links. What it finds goes to the
//! events, the metrics and the report.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, SelectAll};
use quicraft_transport::TransportHandle;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::event::{Event, Events};
use super::formation::{FormationStage, FormationTrack};
use super::gauges::{GroupGauges, NodeGauges};
use super::group_track::GroupTrack;
use super::host::Host;
use super::link_watch::LinkWatch;
use super::report::{LinkReport, NodeReport};
use super::sample::GroupSample;
use super::standings::standing_changes;
use crate::cluster::FormationReport;
use crate::raft_config::TimingWarning;
use crate::{GroupName, GroupOperations, Meta, MetaState};

/// What is watched: a manager, as far as the watcher needs to know it.
pub(crate) trait Watched: Send + Sync {
    /// The groups of this node, in the order of their names.
    fn running(&self) -> Vec<Arc<dyn GroupOperations>>;
    /// How far the forming of the cluster is, if one was begun here.
    fn formation(&self) -> Option<FormationReport>;
}

/// Watches for one manager. Dropping it ends its task.
#[derive(Debug)]
pub(crate) struct Watcher {
    watch: Arc<Watch>,
    task: OnceLock<AbortHandle>,
}

/// What the task and the manager share.
#[derive(Debug)]
struct Watch {
    transport: TransportHandle,
    events: Events,
    host: OnceLock<Host>,
    meta: OnceLock<Meta>,
    /// Groups have come or gone, or the meta group has.
    wake: Notify,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    groups: BTreeMap<GroupName, KnownGroup>,
    links: LinkWatch,
    gauges: NodeGauges,
    formation: FormationTrack,
}

#[derive(Debug)]
struct KnownGroup {
    group: Weak<dyn GroupOperations>,
    config: Arc<openraft::Config>,
    track: GroupTrack,
    gauges: GroupGauges,
    /// Whether the task is told when it moves. A report may have been the first to look at it.
    followed: bool,
}

/// Followers that died or came back in one look at all groups, by node.
#[derive(Debug, Default)]
struct Turns {
    died: BTreeMap<u64, (Duration, Vec<GroupName>)>,
    back: BTreeMap<u64, Vec<GroupName>>,
}

impl Watcher {
    /// A watcher that does not look at anything before it is started.
    pub(crate) fn new(transport: &TransportHandle) -> Self {
        let watch = Arc::new(Watch {
            transport: transport.clone(),
            events: Events::new(transport.node_id()),
            host: OnceLock::new(),
            meta: OnceLock::new(),
            wake: Notify::new(),
            known: Mutex::new(Known {
                groups: BTreeMap::new(),
                links: LinkWatch::default(),
                gauges: NodeGauges::new(),
                formation: FormationTrack::new(),
            }),
        });
        Self {
            watch,
            task: OnceLock::new(),
        }
    }

    /// Watches the groups of a manager at this interval, and whenever one of them has moved. The task
    /// ends with the manager, so the manager has to be there: only the first call counts.
    pub(crate) fn start(&self, every: Duration, watched: Weak<dyn Watched>) {
        self.task.get_or_init(|| {
            let task = run(Arc::clone(&self.watch), every, watched);
            let runtime = self.watch.transport.runtime();
            runtime.spawn(task).abort_handle()
        });
    }

    /// Whether its task was started and has not ended.
    #[cfg(test)]
    pub(crate) fn runs(&self) -> bool {
        self.task.get().is_some_and(|task| !task.is_finished())
    }

    pub(crate) fn events(&self) -> &Events {
        &self.watch.events
    }

    /// Groups have come or gone: looks at the new ones without waiting for its next turn.
    pub(crate) fn wake(&self) {
        self.watch.wake.notify_one();
    }

    /// Follows what the `meta` group applies, from now on. Only the first call counts.
    pub(crate) fn follow(&self, meta: &Meta) {
        drop(self.watch.meta.set(meta.clone()));
        self.wake();
    }

    /// This node now.
    pub(crate) fn report(&self, watched: &dyn Watched) -> NodeReport {
        self.watch.report(watched)
    }

    /// Ends the task; its series of groups are unknown from now on.
    pub(crate) fn stop(&self) {
        self.end();
        self.watch.look_at_all(&[]);
    }

    fn end(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.end();
    }
}

async fn run(watch: Arc<Watch>, every: Duration, watched: Weak<dyn Watched>) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut moves: SelectAll<BoxStream<'static, GroupName>> = SelectAll::new();
    let mut meta = None;
    loop {
        tokio::select! {
            biased;
            _ = ticks.tick() => {
                let Some(watched) = watched.upgrade() else { return };
                let groups = watched.running();
                moves.extend(watch.look_at_new(&groups));
                watch.look_at_all(&groups);
                watch.look_at_formation(&*watched, false);
            }
            () = watch.wake.notified() => {
                let Some(watched) = watched.upgrade() else { return };
                moves.extend(watch.look_at_new(&watched.running()));
                meta = meta.or_else(|| MetaFollower::new(watch.meta.get()?));
            }
            () = changed(&mut meta) => {
                if let Some(follower) = &mut meta {
                    follower.turn(&watch);
                }
                let Some(watched) = watched.upgrade() else { return };
                watch.look_at_formation(&*watched, true);
            }
            Some(group) = moves.next() => watch.look_again(&group),
        }
    }
}

/// Follows the applied state of the `meta` group.
struct MetaFollower {
    changes: watch::Receiver<Arc<MetaState>>,
    known: Arc<MetaState>,
}

impl MetaFollower {
    fn new(meta: &Meta) -> Option<Self> {
        let mut changes = meta.changes();
        let known = Arc::clone(&changes.borrow_and_update());
        Some(Self { changes, known })
    }

    fn turn(&mut self, watch: &Watch) {
        let now = Arc::clone(&self.changes.borrow_and_update());
        let me = watch.transport.node_id().get();
        for event in standing_changes(&self.known, &now, me) {
            watch.events.raise(event);
        }
        self.known = now;
    }
}

async fn changed(meta: &mut Option<MetaFollower>) {
    if let Some(follower) = meta
        && follower.changes.changed().await.is_ok()
    {
        return;
    }
    // Nothing to follow, or nobody applies anything any more.
    std::future::pending::<()>().await;
}

impl Watch {
    fn known(&self) -> MutexGuard<'_, Known> {
        // Whoever panicked, a group is looked at anew each time.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the groups that were not there before, and returns what tells when groups move that
    /// nobody follows yet.
    fn look_at_new(
        &self,
        groups: &[Arc<dyn GroupOperations>],
    ) -> Vec<BoxStream<'static, GroupName>> {
        let mut known = self.known();
        let mut turns = Turns::default();
        let mut moves = Vec::new();
        for group in groups {
            if !known.has(group) {
                known.look(group, &self.events, &mut turns);
            }
            if known.follow(group.name()) {
                let name = group.name().clone();
                moves.push(group.moves().map(move |()| name.clone()).boxed());
            }
        }
        turns.raise(&self.events);
        moves
    }

    /// Looks at one group that has moved.
    fn look_again(&self, name: &GroupName) {
        let mut known = self.known();
        let group = known.groups.get(name);
        if let Some(group) = group.and_then(|group| group.group.upgrade()) {
            let mut turns = Turns::default();
            known.look(&group, &self.events, &mut turns);
            turns.raise(&self.events);
        }
    }

    /// Looks at all groups and links, and forgets the groups that are no more.
    fn look_at_all(&self, groups: &[Arc<dyn GroupOperations>]) -> Vec<LinkReport> {
        let links = self.transport.status();
        let mut known = self.known();
        let mut turns = Turns::default();
        for group in groups {
            known.look(group, &self.events, &mut turns);
        }
        // Both are sorted by name.
        let is_here = |name: &GroupName| {
            let found = groups.binary_search_by(|group| group.name().cmp(name));
            found.is_ok()
        };
        known.groups.retain(|name, _| is_here(name));
        turns.raise(&self.events);
        let Known {
            groups,
            links: watched,
            gauges,
            formation: _,
        } = &mut *known;
        gauges.set(groups.values().filter_map(|group| group.track.report()));
        let me = self.transport.node_id().get();
        let timing = watched.observe(&links, |peer, round_trip| {
            judge(groups, me, peer, round_trip)
        });
        for event in timing {
            self.events.raise(event);
        }
        links.iter().map(LinkReport::of).collect()
    }

    /// Looks at how far the forming is. What is formed stays so until the state of the `meta` group
    /// changes, so it is not asked for all groups each time.
    fn look_at_formation(&self, watched: &dyn Watched, changed: bool) {
        if !changed && self.known().formation.stage() == FormationStage::Formed {
            return;
        }
        if let Some(report) = watched.formation()
            && let Some(event) = self.known().formation.turn(&report)
        {
            self.events.raise(event);
        }
    }

    fn report(&self, watched: &dyn Watched) -> NodeReport {
        let links = self.look_at_all(&watched.running());
        self.look_at_formation(watched, true);
        let formation = watched.formation();
        let node = self.transport.node_id().get();
        let meta = self.meta.get().map(Meta::state);
        let known = self.known();
        let reports = known
            .groups
            .values()
            .filter_map(|group| group.track.report());
        NodeReport {
            node,
            uid: meta.as_ref().map_or(0, |meta| meta.uid),
            boot: self.transport.boot(),
            standing: meta.and_then(|meta| meta.standing(node)),
            formation: known.formation.stage(),
            pending: formation.map_or_else(BTreeMap::new, |formation| formation.pending()),
            groups: reports.cloned().collect(),
            timing: known.links.warnings(),
            links,
            host: self.host.get_or_init(Host::new).facts(),
        }
    }
}

/// The warning of the group with the shortest heartbeat among those in which this node and the peer
/// vote and for which the round trip is unsafe.
fn judge(
    groups: &BTreeMap<GroupName, KnownGroup>,
    me: u64,
    peer: u64,
    round_trip: Duration,
) -> Option<TimingWarning> {
    let votes = |group: &&KnownGroup| {
        let report = group.track.report();
        report.is_some_and(|report| {
            let voters = &report.status.voters;
            voters.contains(&me) && voters.contains(&peer)
        })
    };
    let shared = groups.values().filter(votes);
    let unsafe_for = shared.filter_map(|group| TimingWarning::of(peer, &group.config, round_trip));
    unsafe_for.min_by_key(|warning| warning.heartbeat)
}

impl Known {
    /// Whether this very group is known, and not one before it of the same name.
    fn has(&self, group: &Arc<dyn GroupOperations>) -> bool {
        let known = self.groups.get(group.name());
        known.is_some_and(|known| known.is(group))
    }

    /// Whether a group is not followed yet. It is from now on.
    fn follow(&mut self, name: &GroupName) -> bool {
        let known = self.groups.get_mut(name);
        known.is_some_and(|known| !std::mem::replace(&mut known.followed, true))
    }

    fn look(&mut self, group: &Arc<dyn GroupOperations>, events: &Events, turns: &mut Turns) {
        let sample = group.sample();
        let name = group.name();
        if !self.has(group) {
            self.groups
                .insert(name.clone(), KnownGroup::new(group, &sample));
        }
        let Some(known) = self.groups.get_mut(name) else {
            return;
        };
        let seen = known.track.observe(sample, Instant::now());
        if let Some(report) = known.track.report() {
            known.gauges.set(seen.elections, report);
        }
        for event in seen.events {
            events.raise(event);
        }
        turns.note(name, seen.died, seen.back);
    }
}

impl KnownGroup {
    fn new(group: &Arc<dyn GroupOperations>, sample: &GroupSample) -> Self {
        Self {
            group: Arc::downgrade(group),
            config: Arc::clone(&sample.config),
            track: GroupTrack::default(),
            gauges: GroupGauges::new(group.name()),
            followed: false,
        }
    }

    fn is(&self, group: &Arc<dyn GroupOperations>) -> bool {
        // As long as a weak handle is here, no other group can be at its place.
        std::ptr::addr_eq(self.group.as_ptr(), Arc::as_ptr(group))
    }
}

impl Turns {
    fn note(&mut self, group: &GroupName, died: Vec<(u64, Duration)>, back: Vec<u64>) {
        for (peer, silent) in died {
            let (_, groups) = self
                .died
                .entry(peer)
                .or_insert_with(|| (silent, Vec::new()));
            groups.push(group.clone());
        }
        for peer in back {
            self.back.entry(peer).or_default().push(group.clone());
        }
    }

    fn raise(self, events: &Events) {
        for (peer, (silent, groups)) in self.died {
            events.raise(Event::PeerDead {
                peer,
                groups,
                silent,
            });
        }
        for (peer, groups) in self.back {
            events.raise(Event::PeerAlive { peer, groups });
        }
    }
}

//! The cluster of this node: how it is founded and formed, who is let in, and which groups are here.
//!
//! Decisions are pure and stand in `identity`, `roster`, `report` and the groups' own steps; what is
//! here asks, waits and carries out. It must not know what a group holds.

mod bootstrap;
mod change;
mod enter;
mod error;
mod everywhere;
mod form;
mod heirs;
mod identity;
mod membership;
mod meta_group;
mod place;
mod removal;
mod report;
mod roster;
mod sight;
mod spec;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use quicraft_transport::{Registration, TransportHandle};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use change::{
    ChangeObserver, ChangeOptions, ChangePoint, ChangeReport, ChangeStep, GroupChange,
};
pub use error::ClusterError;
pub use everywhere::{GroupActed, NodeActed};
pub(crate) use meta_group::MetaGroup;
pub use report::{FormationReport, FormationState};
pub(crate) use sight::SeenGroup;
pub use spec::{ClusterSpec, FactoryError, GroupFactory};

use crate::control::ControlService;
use crate::control::wire::{CONTROL, Close, Identity, Seated};
use crate::meta::{Meta, MetaCommand, MetaReply};
use crate::{GroupName, RaftManager, RaftManagerConfig, RequestError};
use enter::Entrance;

/// How far this node is.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    /// It does not know yet what it is; per peer, why.
    Asking(BTreeMap<u64, String>),
    /// Its meta group runs.
    Running,
    /// It must not start.
    Failed(ClusterError),
}

/// The cluster as this node takes part in it.
pub(crate) struct Cluster {
    manager: RaftManager,
    spec: ClusterSpec,
    meta: Meta,
    meta_name: GroupName,
    factory: Arc<dyn GroupFactory>,
    group: OnceLock<Arc<dyn MetaGroup>>,
    phase: watch::Sender<Phase>,
    /// Groups that the factory has opened.
    opened: Mutex<BTreeSet<GroupName>>,
    /// What hinders a node or a group, by its name.
    problems: Mutex<BTreeMap<String, String>>,
    registration: Mutex<Option<Registration>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("node", &self.spec.me)
            .field("phase", &*self.phase.borrow())
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// Begins to take part. What follows is done by tasks of the cluster's own.
    pub(crate) fn start(
        manager: RaftManager,
        spec: ClusterSpec,
        meta: Meta,
        meta_name: GroupName,
        factory: Arc<dyn GroupFactory>,
        entrance: Entrance,
    ) -> Result<Arc<Self>, ClusterError> {
        manager.follow_meta(&meta);
        let (phase, _) = watch::channel(Phase::Asking(BTreeMap::new()));
        let cluster = Arc::new(Self {
            manager,
            spec,
            meta,
            meta_name,
            factory,
            group: OnceLock::new(),
            phase,
            opened: Mutex::default(),
            problems: Mutex::default(),
            registration: Mutex::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        });
        let service = Arc::new(ControlService::new(Arc::downgrade(&cluster)));
        let registration = cluster.handle().register(CONTROL, service)?;
        *lock(&cluster.registration) = Some(registration);
        cluster.seed_roster();
        cluster.spawn(Arc::clone(&cluster).hear_removal());
        cluster.spawn(Arc::clone(&cluster).run(entrance));
        Ok(cluster)
    }

    /// From the first question to the last task.
    async fn run(self: Arc<Self>, entrance: Entrance) {
        let floor = match self.enter(entrance).await {
            Ok(floor) => floor,
            Err(error) => {
                tracing::error!(target: "quicraft::cluster", node = self.me(), %error, "no cluster");
                self.phase.send_replace(Phase::Failed(error));
                return;
            }
        };
        self.phase.send_replace(Phase::Running);
        self.spawn(Arc::clone(&self).follow_roster(floor));
        self.spawn(Arc::clone(&self).place_groups());
        self.spawn(Arc::clone(&self).name_heirs());
        self.spawn(Arc::clone(&self).form());
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        let until_stopped = async move {
            stop.run_until_cancelled_owned(task).await;
        };
        let runtime = self.handle().runtime();
        drop(self.tasks.spawn_on(until_stopped, runtime));
    }

    /// Ends all tasks and takes the node from the others' questions.
    pub(crate) async fn shut_down(&self) {
        self.stop.cancel();
        drop(lock(&self.registration).take());
        self.tasks.close();
        self.tasks.wait().await;
    }

    pub(crate) fn me(&self) -> u64 {
        self.spec.me
    }

    pub(crate) fn manager(&self) -> &RaftManager {
        &self.manager
    }

    pub(crate) fn meta(&self) -> &Meta {
        &self.meta
    }

    pub(crate) fn handle(&self) -> &TransportHandle {
        self.manager.transport()
    }

    fn config(&self) -> &RaftManagerConfig {
        self.manager.config()
    }

    /// The meta group, once it runs here.
    fn group(&self) -> Option<&Arc<dyn MetaGroup>> {
        self.group.get()
    }

    /// The meta group, when it runs here.
    async fn running(&self, deadline: Instant) -> Result<&Arc<dyn MetaGroup>, ClusterError> {
        let mut phases = self.phase.subscribe();
        let entered = phases.wait_for(|phase| !matches!(phase, Phase::Asking(_)));
        let started = Instant::now();
        match timeout_at(deadline, entered).await {
            Ok(Ok(phase)) => match &*phase {
                Phase::Failed(error) => return Err(error.clone()),
                Phase::Running | Phase::Asking(_) => {}
            },
            Ok(Err(_)) => return Err(ClusterError::ShuttingDown),
            Err(_) => {
                return Err(ClusterError::NotFormed {
                    waited: started.elapsed(),
                    pending: self.report().pending(),
                });
            }
        }
        self.group().ok_or(ClusterError::ShuttingDown)
    }

    /// Has the meta group note a change.
    async fn note(&self, command: MetaCommand, deadline: Instant) -> Result<u64, ClusterError> {
        let group = self.running(deadline).await?;
        let noted = group.note(command, deadline).await;
        match noted.map_err(ClusterError::Meta)? {
            (index, MetaReply::Done) => Ok(index),
            (_, MetaReply::Refused(refusal)) => Err(refusal.into()),
        }
    }

    /// What another node is told that asks who this is.
    pub(crate) async fn identify(&self, from: u64, deadline: Instant) -> Identity {
        let uid = self.handle().cluster_uid();
        let Some(group) = self.group() else {
            let configured = self.spec.configured();
            return match uid {
                0 => Identity::Empty {
                    configured,
                    forced: self.spec.force_found,
                },
                uid => Identity::Starting { uid },
            };
        };
        let current = group.read(self.answer_by(deadline)).await.is_ok();
        let state = self.meta.state();
        let entry = state.nodes.get(&from);
        let seated = entry.is_some_and(|entry| entry.seated);
        // Of a state that may be old only this is certain: who was seated once, was seated.
        if state.uid == 0 || !(current || seated) {
            return Identity::Starting { uid };
        }
        Identity::Cluster {
            uid: state.uid,
            standing: entry.map(|entry| entry.standing),
            seated,
        }
    }

    /// Notes that another node keeps the cluster's uid.
    pub(crate) async fn seat(&self, node: u64, deadline: Instant) -> Result<Seated, RequestError> {
        let deadline = self.answer_by(deadline);
        let seat = MetaCommand::Seat { node };
        match self.group() {
            Some(group) => Ok(match group.note(seat, deadline).await? {
                (floor, MetaReply::Done) => Seated::Done { floor },
                (_, MetaReply::Refused(refusal)) => Seated::Refused(refusal),
            }),
            None => Err(RequestError::Stopped {
                group: self.meta_name.clone(),
            }),
        }
    }

    /// Ends a group here that this node is in no more.
    pub(crate) async fn close_group(
        &self,
        close: &Close,
        deadline: Instant,
    ) -> Result<(), ClusterError> {
        let group = self.running(deadline).await?;
        let read = group.read(self.answer_by(deadline)).await;
        read.map_err(ClusterError::Meta)?;
        let state = self.meta.state();
        let here = state.groups.get(&close.group);
        let role = here.filter(|group| group.id == close.id);
        if role.and_then(|group| group.role(self.me())).is_none() {
            self.end_group(&close.group, close.id).await?;
        }
        Ok(())
    }

    /// An answer has to travel, and to be asked for again, before the asker gives up.
    fn answer_by(&self, deadline: Instant) -> Instant {
        deadline.min(Instant::now() + self.config().ask_timeout / 2)
    }

    fn problem(&self, what: impl fmt::Display, why: Option<String>) {
        let mut problems = lock(&self.problems);
        match why {
            Some(why) => drop(problems.insert(what.to_string(), why)),
            None => drop(problems.remove(&what.to_string())),
        }
    }

    /// Waits a moment, at least so long that a group that fails does not fail thousands of times.
    async fn pause(&self) {
        let half: Duration = self.config().retry_max / 2;
        tokio::time::sleep(half + half.mul_f64(rand::random())).await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every value here is whole between two calls, whoever panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! The way of this node into its cluster: asks its peers who it is, keeps the uid, and starts the
//! meta group. What the answers mean is `identity`'s to say.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::{BoxFuture, join_all};
use tokio::time::Instant;

use super::error::ClusterError;
use super::identity::{Disk, Heard, Stop, Verdict, judge};
use super::{Cluster, MetaGroup, Phase};
use crate::control;
use crate::control::wire::{Identity, Seated, method};
use crate::{RaftManager, StartGroupError};

/// Starts the meta group, whose types only the host knows.
pub(crate) type StartMeta = Box<
    dyn FnOnce(RaftManager) -> BoxFuture<'static, Result<Arc<dyn MetaGroup>, StartGroupError>>
        + Send,
>;

/// What this node comes with.
pub(crate) struct Entrance {
    /// Whether the meta group's log and state are empty.
    pub(crate) blank: bool,
    /// The last entry of the meta group's log.
    pub(crate) last_log_index: Option<u64>,
    /// Starts the meta group.
    pub(crate) start: StartMeta,
}

impl Cluster {
    /// Starts the meta group as soon as this node may, and returns the log index before which what is
    /// applied may be older than what this node was told.
    pub(super) async fn enter(&self, entrance: Entrance) -> Result<u64, ClusterError> {
        let mut disk = Disk {
            me: self.me(),
            uid: self.handle().cluster_uid(),
            blank: entrance.blank,
            configured: self.spec.configured(),
            force_found: self.spec.force_found,
        };
        let mut floor = entrance.last_log_index.unwrap_or(0);
        let founds = loop {
            let heard = self.ask_all(&disk).await;
            match judge(&disk, &heard) {
                Verdict::Return => break false,
                Verdict::Found { uid } => {
                    self.keep_uid(if uid == 0 { random_uid() } else { uid })?;
                    break true;
                }
                Verdict::Sit { uid, via } => {
                    self.keep_uid(uid)?;
                    disk.uid = uid;
                    if let Some(index) = self.sit(via).await? {
                        floor = index;
                        break false;
                    }
                }
                Verdict::Wait(why) => {
                    self.phase.send_replace(Phase::Asking(why));
                }
                Verdict::Stop(stop) => return Err(self.stopped(stop)),
            }
            self.pause().await;
        };
        let group = (entrance.start)(self.manager.clone()).await;
        let group = group.map_err(|error| ClusterError::MetaGroup(error.to_string()))?;
        if founds {
            self.found_meta().await?;
        }
        if self.group.set(group).is_err() {
            return Err(ClusterError::StartedBefore);
        }
        Ok(floor)
    }

    /// The meta group begins with this node alone; everybody else is taken in as any later node is.
    async fn found_meta(&self) -> Result<(), ClusterError> {
        let me = self.spec.members.iter().find(|it| it.node == self.me());
        let voters = me.cloned().into_iter().collect();
        let failed = |error: crate::OperationError| ClusterError::MetaGroup(error.to_string());
        let meta = self.manager.operations(&self.meta_name).map_err(failed)?;
        meta.found(voters).await.map_err(failed)
    }

    async fn ask_all(&self, disk: &Disk) -> BTreeMap<u64, Heard> {
        if !disk.blank {
            return BTreeMap::new();
        }
        let peers = disk.configured.iter().filter(|&&peer| peer != disk.me);
        let asked = peers.map(|&peer| async move {
            let deadline = Instant::now() + self.config().ask_timeout;
            let handle = self.handle();
            let answer =
                control::ask::<_, Identity>(handle, peer, method::IDENTITY, &(), deadline).await;
            let heard = match answer {
                Ok(identity) => Heard::Said(identity),
                Err(error) => Heard::Silent(error.to_string()),
            };
            (peer, heard)
        });
        join_all(asked).await.into_iter().collect()
    }

    /// Tells the cluster that the uid is kept. `None` when it could not be told now.
    async fn sit(&self, via: u64) -> Result<Option<u64>, ClusterError> {
        let deadline = Instant::now() + self.config().ask_timeout;
        let seated = control::ask(self.handle(), via, method::SEAT, &(), deadline).await;
        match seated {
            Ok(Seated::Done { floor }) => Ok(Some(floor)),
            Ok(Seated::Refused(refusal)) => Err(refusal.into()),
            Err(error) => {
                let why = BTreeMap::from([(via, error.to_string())]);
                self.phase.send_replace(Phase::Asking(why));
                Ok(None)
            }
        }
    }

    fn keep_uid(&self, uid: u128) -> Result<(), ClusterError> {
        let kept = self.handle().set_cluster_uid(uid);
        kept.map_err(|error| ClusterError::Uid(error.to_string()))
    }

    fn stopped(&self, stop: Stop) -> ClusterError {
        let node = self.me();
        match stop {
            Stop::Lost { uid } => ClusterError::LostIdentity { node, uid },
            Stop::Gone(standing) => ClusterError::Gone { node, standing },
            Stop::OtherCluster { peer, uid, ours } => ClusterError::OtherCluster {
                peer,
                theirs: uid,
                ours,
            },
            Stop::OtherMembers { peer, theirs } => ClusterError::OtherMembers {
                peer,
                theirs,
                ours: self.spec.configured(),
            },
        }
    }
}

/// Never 0, which stands for no cluster.
fn random_uid() -> u128 {
    rand::random::<u128>().max(1)
}

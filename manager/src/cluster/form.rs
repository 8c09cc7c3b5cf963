//! The forming of the cluster: whoever leads the meta group notes the founding, and takes in the
//! configured members as they come. A crash in the middle is nothing special: the next leader goes on.

use std::sync::Arc;

use tokio::time::Instant;

use super::Cluster;
use super::change::ChangeOptions;
use super::error::ClusterError;
use crate::meta::{MetaCommand, MetaState, NewGroup, NodeRecord, NodeStanding};

impl Cluster {
    /// Forms the cluster for as long as it runs.
    pub(super) async fn form(self: Arc<Self>) {
        let Some(group) = self.group().cloned() else {
            return;
        };
        let mut changes = self.meta.changes();
        loop {
            let state = Arc::clone(&changes.borrow_and_update());
            let leader = group.leader();
            let again = leader == Some(self.me()) && !self.form_once(&state).await;
            let changed = tokio::select! {
                changed = changes.changed() => changed,
                () = group.led_by_another(leader) => Ok(()),
                () = self.pause(), if again => Ok(()),
            };
            if changed.is_err() {
                return;
            }
        }
    }

    /// Returns whether nothing is left to do.
    async fn form_once(&self, state: &MetaState) -> bool {
        if state.uid == 0 {
            let deadline = Instant::now() + self.config().ask_timeout;
            let noted = self.note(self.founding(), deadline).await;
            self.problem(
                &self.meta_name,
                noted.as_ref().err().map(ToString::to_string),
            );
            // The state changes with it.
            return noted.is_ok();
        }
        let mut done = true;
        for entry in state.nodes.values() {
            let node = entry.record.node;
            let configured = self.spec.members.iter().any(|it| it.node == node);
            if entry.standing != NodeStanding::Joining || !configured {
                continue;
            }
            let taken_in = if entry.seated {
                let options = ChangeOptions::until(Instant::now() + self.config().change_timeout);
                self.take_in(node, &options).await.map(drop)
            } else {
                let waited = std::time::Duration::ZERO;
                Err(ClusterError::NotSeated { node, waited })
            };
            done &= taken_in.is_ok();
            let why = taken_in.err().map(|error| match error {
                ClusterError::NotSeated { .. } => "it has not come yet".to_owned(),
                other => other.to_string(),
            });
            self.problem(format_args!("node {node}"), why);
        }
        done
    }

    /// The founding as this node is configured. Who founds is a member at once; all others join.
    fn founding(&self) -> MetaCommand {
        let of = |own: bool| {
            let members = self.spec.members.iter();
            members
                .filter(move |it| (it.node == self.me()) == own)
                .cloned()
        };
        let founder = of(true).next();
        let voters = self.spec.configured();
        let mut meta = NewGroup::new(self.meta_name.clone(), voters).founded_by(self.me());
        meta.id = self
            .manager
            .operations(&self.meta_name)
            .ok()
            .map(|it| it.id().get());
        MetaCommand::Found {
            uid: self.handle().cluster_uid(),
            founder: founder.unwrap_or_else(|| NodeRecord::new(self.me(), Vec::<String>::new())),
            joining: of(false).collect(),
            meta,
            groups: self.spec.groups.clone(),
        }
    }
}

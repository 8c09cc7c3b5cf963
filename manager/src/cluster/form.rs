//! The forming of the cluster: whoever leads the meta group notes the founding, and takes in the
//! configured members as they come. A crash in the middle is nothing special: the next leader goes on.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::Instant;

use super::Cluster;
use super::change::ChangeOptions;
use crate::meta::{MetaCommand, MetaState, NewGroup, NodeRecord, NodeStanding};

impl Cluster {
    /// Forms the cluster for as long as it runs.
    pub(super) async fn form(self: Arc<Self>) {
        let Some(group) = self.group().cloned() else {
            return;
        };
        let mut changes = self.meta.changes();
        // Each node by itself: one may wait for a group that another one founds.
        let mut entering = FuturesUnordered::new();
        let mut busy = BTreeSet::new();
        loop {
            let state = Arc::clone(&changes.borrow_and_update());
            let leader = group.leader();
            let mut again = false;
            if leader != Some(self.me()) {
                entering.clear();
                busy.clear();
            } else if state.uid == 0 {
                again = !self.note_founding().await;
            } else {
                for node in self.seated_joiners(&state) {
                    if busy.insert(node) {
                        entering.push(self.enter_once(node));
                    }
                }
            }
            let changed = tokio::select! {
                changed = changes.changed() => changed,
                () = group.led_by_another(leader) => Ok(()),
                Some(node) = entering.next() => {
                    busy.remove(&node);
                    Ok(())
                }
                () = self.pause(), if again => Ok(()),
            };
            if changed.is_err() {
                return;
            }
        }
    }

    /// Returns whether it was noted; the state changes with it.
    async fn note_founding(&self) -> bool {
        let deadline = Instant::now() + self.config().ask_timeout;
        let noted = self.note(self.founding(), deadline).await;
        self.problem(
            &self.meta_name,
            noted.as_ref().err().map(ToString::to_string),
        );
        noted.is_ok()
    }

    /// The configured members that can be taken in now. Of the others it is noted that they have not
    /// come.
    fn seated_joiners(&self, state: &MetaState) -> Vec<u64> {
        let joining = state.nodes.values().filter(|entry| {
            let node = entry.record.node;
            let configured = self.spec.members.iter().any(|it| it.node == node);
            entry.standing == NodeStanding::Joining && configured
        });
        let (seated, absent): (Vec<_>, Vec<_>) = joining.partition(|entry| entry.seated);
        for entry in absent {
            let why = Some("it has not come yet".to_owned());
            self.problem(format_args!("node {}", entry.record.node), why);
        }
        seated.iter().map(|entry| entry.record.node).collect()
    }

    /// Takes a node in, and returns it. What failed is begun again a moment later.
    async fn enter_once(&self, node: u64) -> u64 {
        let options = ChangeOptions::until(Instant::now() + self.config().change_timeout);
        let failed = self.take_in(node, &options).await.err();
        let why = failed.as_ref().map(ToString::to_string);
        self.problem(format_args!("node {node}"), why);
        if failed.is_some() {
            self.pause().await;
        }
        node
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

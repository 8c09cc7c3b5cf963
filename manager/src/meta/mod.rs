//! The cluster itself, as the `meta` group holds it: its uid, its nodes, its groups. A part that a
//! host puts into the state machine of that group, beside whatever it keeps there itself.
//!
//! It must not know how a command got here, nor what is done about what it says.

mod command;
mod node_record;
mod state;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::sync::watch;

pub use command::{GroupRole, GroupSelection, MetaCommand, MetaRefusal, MetaReply, NewGroup};
pub use node_record::{ClusterNode, DATA_BYTES_MAX, InvalidNode, NodeRecord, NodeStanding};
pub use state::{GroupRecord, META_VOTERS_MAX, MetaState, NodeEntry};

/// The applied state of the `meta` group on this node: the host's state machine writes it, the
/// manager follows it. Cloning gives another handle on the same one.
///
/// The host's state machine calls [`Meta::apply`] for each [`MetaCommand`] in its log, puts
/// [`Meta::state`] into its snapshots, and calls [`Meta::install`] with what a snapshot, or its disk
/// at the start, holds.
#[derive(Clone, Debug)]
pub struct Meta {
    state: watch::Sender<Arc<MetaState>>,
}

impl Default for Meta {
    fn default() -> Self {
        Self::new()
    }
}

impl Meta {
    /// A cluster that was not founded yet.
    #[must_use]
    pub fn new() -> Self {
        Self::restored(MetaState::default())
    }

    /// What the host's disk holds.
    #[must_use]
    pub fn restored(state: MetaState) -> Self {
        let (state, _) = watch::channel(Arc::new(state));
        Self { state }
    }

    /// Applies a command, in the order of the log, and returns what to answer its proposer.
    #[must_use = "it is what the command's proposer is to be answered"]
    pub fn apply(&self, command: &MetaCommand) -> MetaReply {
        let mut reply = MetaReply::Done;
        self.state.send_if_modified(|state| {
            let mut next = MetaState::clone(state);
            reply = match next.apply(command) {
                Ok(()) => MetaReply::Done,
                Err(refusal) => MetaReply::Refused(refusal),
            };
            let modified = next != **state;
            if modified {
                *state = Arc::new(next);
            }
            modified
        });
        reply
    }

    /// Puts the state of a snapshot in the place of what was applied so far.
    pub fn install(&self, state: MetaState) {
        self.state.send_replace(Arc::new(state));
    }

    /// What is applied now.
    #[must_use]
    pub fn state(&self) -> Arc<MetaState> {
        Arc::clone(&self.state.borrow())
    }

    /// Follows what is applied; every change wakes the receiver.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Arc<MetaState>> {
        self.state.subscribe()
    }
}

//! Quicraft with many groups: the network that openraft is given at one end, and at the other a
//! service for each group that answers as one with nothing to do.
//!
//! There is no Raft core in it: ten thousand of them would be all that is measured. All before the
//! core is what hosts run.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use openraft::impls::leader_id_adv::LeaderId;
use openraft::network::{RPCOption, RaftNetworkV2};
use openraft::raft::AppendEntriesRequest;
use openraft::type_config::alias::{LogIdOf, VoteOf};
use openraft::vote::RaftLeaderId;
use openraft::{BasicNode, RaftNetworkFactory};
use quicraft_certs::{IssuedNode, NodeId};
use quicraft_transport::raft::{MemorySnapshots, RaftFactory, RaftNetwork};
use quicraft_transport::service::{CallContext, Service};
use quicraft_transport::{
    GroupId, Refusal, Registration, Roster, RosterEntry, Transport, TransportConfig,
};

use crate::pair::{self, Failure};
use crate::peers::PeerFailure;
use crate::peers::credentials::{ANSWERS, ASKS, Nodes};

openraft::declare_raft_types!(Group: D = u64, R = u64);

type Network = RaftNetwork<Group, MemorySnapshots>;

/// No heartbeat may take this long, however busy the machine is.
const HEARTBEAT_LIMIT: Duration = Duration::from_secs(10);

/// What a log has that has been written to for a while.
const INDEX: u64 = 100_000;

/// *Matched*, as PROTOCOL.md has it (R16).
const MATCHED: Bytes = Bytes::from_static(&[1]);

/// A follower that has the log. Not at once: a Raft core answers from a task of its own.
struct Follower;

impl Service for Follower {
    fn call(&self, _: CallContext, _: Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        Box::pin(async {
            tokio::task::yield_now().await;
            Ok(MATCHED)
        })
    }
}

/// Two nodes; the second serves groups.
pub(super) struct Groups {
    asks: Transport,
    answers: Transport,
    serving: Vec<Registration>,
}

impl Groups {
    pub(super) async fn start(nodes: &Nodes, window: Option<Duration>) -> Result<Self, Failure> {
        let mut config = TransportConfig::default();
        config.heartbeat_window = window.unwrap_or(config.heartbeat_window);
        let start = |node: &IssuedNode| {
            let builder = Transport::builder(nodes.store(node)?).config(config.clone());
            let bind = "127.0.0.1:0".parse()?;
            Ok::<_, Failure>(builder.bind(bind).roster(Roster::closed()).start()?)
        };
        let (asks, answers) = (start(&nodes.asks)?, start(&nodes.answers)?);
        for (one, other) in [(&answers, &asks), (&asks, &answers)] {
            let address = other.local_addr().ok_or("no address")?.into();
            one.roster()
                .insert(RosterEntry::new(other.node_id(), vec![address]))?;
        }
        pair::linked(&asks, NodeId::new(ANSWERS)?).await?;
        pair::linked(&answers, NodeId::new(ASKS)?).await?;
        Ok(Self {
            asks,
            answers,
            serving: Vec::new(),
        })
    }

    /// Serves groups from 0 on, until there are so many.
    pub(super) fn serve(&mut self, groups: usize) -> Result<(), Failure> {
        for group in self.serving.len()..groups {
            let group = GroupId::new(group as u64);
            let registration = self.answers.register(group, Arc::new(Follower))?;
            self.serving.push(registration);
        }
        Ok(())
    }

    /// What openraft makes for one follower of a group that it leads: a client to replicate with,
    /// and one for heartbeats.
    pub(super) async fn leader(&self, group: usize) -> Leader {
        let group = GroupId::new(group as u64);
        let mut factory = RaftFactory::new(&self.asks, group, MemorySnapshots::new());
        let node = BasicNode::default();
        Leader {
            _replication: factory.new_client(ANSWERS, &node).await,
            heartbeats: factory.new_heartbeat_client(ANSWERS, &node).await,
        }
    }

    /// Datagrams that the node that asks has sent and received.
    pub(super) fn datagrams(&self) -> Result<u64, Failure> {
        let status = self.asks.peer(NodeId::new(ANSWERS)?).status();
        Ok(status.sent_datagrams + status.received_datagrams)
    }
}

/// One follower of a group, as its leader has it.
pub(super) struct Leader {
    _replication: Network,
    heartbeats: Network,
}

impl Leader {
    /// One heartbeat and its answer, as openraft's worker does it.
    pub(super) async fn beat(&mut self) -> Result<(), PeerFailure> {
        let leader = LeaderId::new(3, ASKS).to_committed();
        let log_id = LogIdOf::<Group>::new(leader, INDEX);
        let request = AppendEntriesRequest {
            vote: VoteOf::<Group>::new_committed(3, ASKS),
            prev_log_id: Some(log_id),
            entries: Vec::new(),
            leader_commit: Some(log_id),
        };
        let input = Box::pin(futures_util::stream::once(std::future::ready(request)));
        let option = RPCOption::new(HEARTBEAT_LIMIT);
        let mut answers = self.heartbeats.stream_append(input, option).await?;
        let answer = answers.next().await.ok_or("no answer")??;
        match answer {
            Ok(matched) if matched == Some(log_id) => Ok(()),
            other => Err(format!("answered with {other:?}").into()),
        }
    }
}

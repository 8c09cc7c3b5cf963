//! Stop 3: the same application on the manager. The manager founds the cluster, opens its groups,
//! takes nodes in, and finds the leader for every proposal and read.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use openraft::{Config, ReadPolicy};
use quicraft_certs::{Authority, ClusterName, CredentialStore, NodeId};
use quicraft_manager::{
    ChangeOptions, ClusterSpec, FactoryError, Group, GroupFactory, GroupName, GroupSelection,
    GroupSpec, NewGroup, NodeRecord, RaftManager, RaftManagerConfig, RequestError, RequestOptions,
    raft_config,
};
use quicraft_transport::raft::{MemorySnapshots, RaftTiming};
use quicraft_transport::{GroupId, Incarnation, Roster, RosterEntry, Transport, TransportConfig};
use tokio::time::Instant;

use super::app::{Answer, Command, Machine, Types};
use super::log::Log;

/// The number of the group that holds the cluster. It is the same on all nodes, for ever.
const META: GroupId = GroupId::new(1);

type AppGroup = Group<Types, Machine>;

/// How this node opens its part of a group: what `Raft::new` was given before.
#[derive(Debug)]
struct Opener {
    raft_config: Arc<Config>,
    open: Arc<Mutex<BTreeMap<GroupName, (AppGroup, Machine)>>>,
}

impl GroupFactory for Opener {
    fn open(
        &self,
        manager: RaftManager,
        name: GroupName,
        id: GroupId,
    ) -> BoxFuture<'static, Result<(), FactoryError>> {
        let (raft_config, open) = (Arc::clone(&self.raft_config), Arc::clone(&self.open));
        async move {
            // A real host opens here what its disk holds for this name.
            let (log, machine) = (Log::default(), Machine::default());
            let snapshots = MemorySnapshots::new();
            let spec = GroupSpec::new(
                name.clone(),
                id,
                raft_config,
                log,
                machine.clone(),
                snapshots,
            );
            let group: AppGroup = manager.start_group(spec).await?;
            let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
            open.insert(name, (group, machine));
            Ok(())
        }
        .boxed()
    }

    fn destroy(&self, name: GroupName, _: GroupId) -> BoxFuture<'static, Result<(), FactoryError>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.remove(&name);
        std::future::ready(Ok(())).boxed()
    }
}

struct Node {
    manager: RaftManager,
    transport: Transport,
    open: Arc<Mutex<BTreeMap<GroupName, (AppGroup, Machine)>>>,
}

impl Node {
    fn record(&self) -> Result<NodeRecord, Box<dyn Error>> {
        let address = self.transport.local_addr().ok_or("no address")?;
        let node = self.transport.node_id().get();
        Ok(NodeRecord::new(node, [address.to_string()]))
    }

    /// Takes part in the cluster: the same call on every node and after every restart.
    async fn take_part(
        &self,
        members: Vec<NodeRecord>,
        groups: Vec<NewGroup>,
        raft_config: &Arc<Config>,
    ) -> Result<(), Box<dyn Error>> {
        let me = self.transport.node_id().get();
        for member in members.iter().filter(|member| member.node != me) {
            let addresses: Result<_, _> = member.addresses.iter().map(|at| at.parse()).collect();
            let entry = RosterEntry::new(NodeId::new(member.node)?, addresses?);
            self.transport.roster().insert(entry)?;
        }
        let spec = ClusterSpec::new(me, members).with_groups(groups);
        let (log, machine) = (Log::default(), Machine::default());
        let meta = machine.meta().clone();
        let group = GroupSpec::new(
            GroupName::parse("meta")?,
            META,
            Arc::clone(raft_config),
            log,
            machine,
            MemorySnapshots::new(),
        );
        let factory = Arc::new(Opener {
            raft_config: Arc::clone(raft_config),
            open: Arc::clone(&self.open),
        });
        self.manager
            .initialize_cluster::<Types, _, _, _>(spec, meta, group, factory)
            .await?;
        Ok(())
    }

    /// A group, if this node has a part of it.
    fn group(&self, name: &GroupName) -> Option<(AppGroup, Machine)> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.get(name).cloned()
    }
}

fn start(
    authority: &Authority,
    id: u64,
    data: &Path,
    raft_config: &Config,
) -> Result<Node, Box<dyn Error>> {
    let folder = data.join(format!("node-{id}"));
    std::fs::create_dir_all(&folder)?;
    let credentials = authority.issue(NodeId::new(id)?)?.credentials(authority)?;
    let transport = Transport::builder(CredentialStore::new(credentials))
        .bind("127.0.0.1:0".parse()?)
        .incarnation(Incarnation::persisted(&folder)?)
        .roster(Roster::closed())
        .config(TransportConfig::default().with_timing(RaftTiming::derive(raft_config)))
        .start()?;
    let manager = RaftManager::new(transport.handle(), RaftManagerConfig::default())?;
    Ok(Node {
        manager,
        transport,
        open: Arc::default(),
    })
}

/// Sets a word, from whatever node this is.
async fn put(group: &AppGroup, key: &str, value: &str) -> Result<Answer, RequestError> {
    let command = Command::Put {
        key: key.to_owned(),
        value: value.to_owned(),
    };
    // Setting the same word twice does no harm, so the manager may repeat it.
    let options = RequestOptions::until(Instant::now() + Duration::from_secs(10)).idempotent();
    Ok(group.propose(command, options).await?.response)
}

/// Reads a word, on whatever node this is: everything acknowledged before is in it.
async fn get(
    group: &AppGroup,
    machine: &Machine,
    key: &str,
) -> Result<Option<String>, RequestError> {
    let deadline = Instant::now() + Duration::from_secs(10);
    group.read(ReadPolicy::ReadIndex, deadline).await?;
    Ok(machine.get(key))
}

/// A cluster of two that grows to three. `data` is a folder for all.
///
/// # Errors
///
/// Whatever goes wrong.
pub async fn run(data: &Path) -> Result<(), Box<dyn Error>> {
    let limit = Duration::from_secs(60);
    let raft_config = Arc::new(raft_config::lan());
    let authority = Authority::new(ClusterName::new("guide.example")?)?;
    let first = start(&authority, 1, data, &raft_config)?;
    let second = start(&authority, 2, data, &raft_config)?;
    let words = GroupName::parse("words")?;

    let members = vec![first.record()?, second.record()?];
    let groups = vec![NewGroup::new(words.clone(), [1, 2])];
    for node in [&first, &second] {
        node.take_part(members.clone(), groups.clone(), &raft_config)
            .await?;
    }
    for node in [&first, &second] {
        node.manager.wait_for_cluster_formation(limit).await?;
    }

    let (here, _) = first.group(&words).ok_or("no group on node 1")?;
    let (there, copy) = second.group(&words).ok_or("no group on node 2")?;
    put(&here, "stop", "three").await?;
    put(&there, "from", "a follower or a leader").await?;
    if get(&there, &copy, "stop").await?.as_deref() != Some("three") {
        return Err("a read has missed a write".into());
    }

    let third = start(&authority, 3, data, &raft_config)?;
    let known = vec![first.record()?, third.record()?];
    third.take_part(known, Vec::new(), &raft_config).await?;
    let options = ChangeOptions::until(Instant::now() + limit);
    second
        .manager
        .add_node(third.record()?, GroupSelection::All, &options)
        .await?;
    let (group, machine) = third.group(&words).ok_or("no group on node 3")?;
    if get(&group, &machine, "stop").await?.as_deref() != Some("three") {
        return Err("the new node has missed a write".into());
    }

    for node in [third, second, first] {
        node.manager.shut_down().await;
        node.transport.shutdown(Duration::from_secs(5)).await;
    }
    Ok(())
}

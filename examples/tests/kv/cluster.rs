//! Whole nodes with real Rafts on the store, connected inside one process.

use std::time::Duration;

use futures_util::future::select_ok;
use quicraft_examples::kv::store::limits::INSTALL_BYTES;
use quicraft_examples::kv::{
    Command, Config, DataFolder, KvGroup, KvHost, Settings, Store, StoreOptions, TypeConfig,
};
use quicraft_transport::Event;
use quicraft_transport::raft::FileSnapshots;
use tempfile::TempDir;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;

use crate::entries::CLUSTER;
use crate::network::Wires;

type Metrics = openraft::RaftMetrics<TypeConfig>;

const LONG: Duration = Duration::from_secs(120);
const WAIT: Option<Duration> = Some(LONG);

fn config(node: u64, nodes: u64, folder: &TempDir, wires: &Wires) -> Config {
    let peers = (1..=nodes).filter(|&id| id != node);
    let settings = Settings::from_toml(&format!(
        "cluster = {CLUSTER:?}
        node = {node}
        data = {:?}
        listen = '{}'
        http = '127.0.0.1:{}'
        peers = {:?}
        ca = 'ca.pem'
        cert = 'cert.pem'
        key = 'key.pem'
        groups = 3
        election-min-ms = 3000
        election-max-ms = 6000
        snapshot-every = 50
        keep-entries = 10",
        folder.path().join(format!("node-{node}")),
        wires.address(node),
        8000 + node,
        peers
            .map(|id| format!("{id}={}@127.0.0.1:{}", wires.address(id), 8000 + id))
            .collect::<Vec<_>>(),
    ));
    Config::new(settings.unwrap()).unwrap()
}

fn open(node: u64, folder: &TempDir) -> Store {
    let data = folder.path().join(format!("node-{node}"));
    let data = DataFolder::open(&data, CLUSTER, node).unwrap();
    Store::open(data, StoreOptions::default()).unwrap()
}

async fn start(node: u64, nodes: u64, folder: &TempDir, wires: &Wires) -> KvHost {
    let config = config(node, nodes, folder, wires);
    let store = open(node, folder);
    let received = config.data.join("received");
    std::fs::create_dir_all(&received).unwrap();
    let snapshots = FileSnapshots::new(&received);
    KvHost::start(config, store, wires.handle(node), snapshots)
        .await
        .unwrap()
}

/// Waits until all nodes are in the cluster and all groups are open everywhere.
async fn formed(hosts: &[&KvHost]) {
    for host in hosts {
        let formed = host.manager().wait_for_cluster_formation(LONG).await;
        let all = || hosts.iter().map(|host| host.manager().formation());
        assert!(formed.is_ok(), "{:?}", all().collect::<Vec<_>>());
    }
}

/// The group at whoever leads it now and has heard from a majority.
async fn leader(hosts: &[&KvHost], group: u64) -> KvGroup {
    let leads = hosts.iter().map(|host| {
        let open = host.groups()[&group].clone();
        Box::pin(async move {
            let leads = |m: &Metrics| m.state.is_leader() && m.last_quorum_acked.is_some();
            let waited = open.raft().wait(WAIT).metrics(leads, "a leader").await;
            waited.map(|_| open)
        })
    });
    select_ok(leads).await.unwrap().0
}

/// Waits until group 0 is the same everywhere. Who was away may lead it now, with an entry of its own
/// that the others apply in a moment.
async fn agree(hosts: &[&KvHost]) {
    let agreed = async {
        loop {
            let states = hosts.iter().map(|host| host.store().state(0).unwrap());
            let states: Vec<_> = states.collect();
            if states.iter().all(|state| *state == states[0]) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, agreed).await.unwrap();
}

async fn write(group: &KvGroup, from: u64, to: u64) -> u64 {
    let mut last = 0;
    for index in from..to {
        let value = vec![7; 40_000];
        let command = Command::put(format!("key-{index}"), value);
        let written = group.raft().client_write(command).await.unwrap();
        last = written.log_id.index;
    }
    last
}

/// Snapshots among the events that have come.
fn snapshots(events: &mut Receiver<Event>) -> usize {
    let mut count = 0;
    loop {
        match events.try_recv() {
            Ok(Event::SnapshotReceived { .. }) => count += 1,
            Ok(_) | Err(TryRecvError::Lagged(_)) => {}
            Err(TryRecvError::Empty | TryRecvError::Closed) => return count,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_away_catches_up_from_a_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let wires = Wires::new(3);
    let one = start(1, 3, &folder, &wires).await;
    let two = start(2, 3, &folder, &wires).await;
    let three = start(3, 3, &folder, &wires).await;
    formed(&[&one, &two, &three]).await;
    let led = leader(&[&one, &two, &three], 0).await;
    write(&led, 0, 20).await;
    let raft = led.raft();
    let leader_id = *raft.node_id();

    let away = [&one, &two, &three]
        .into_iter()
        .find(|host| host.config().node != leader_id);
    let away = away.unwrap();
    wires.cut(away.config().node);
    let mut events = wires.handle(away.config().node).events();
    let last = write(&led, 20, 200).await;
    let purged = |m: &Metrics| m.purged.is_some_and(|id| id.index > 30);
    raft.wait(WAIT).metrics(purged, "purged").await.unwrap();
    assert_eq!(snapshots(&mut events), 0);
    wires.mend(away.config().node);
    for host in [&one, &two, &three] {
        let group = host.groups()[&0].clone();
        let raft = group.raft();
        raft.wait(WAIT)
            .applied_index_at_least(Some(last), "all")
            .await
            .unwrap();
    }
    assert!(snapshots(&mut events) > 0, "the log alone was not enough");
    assert!(last * 40_000 > INSTALL_BYTES as u64, "in several batches");
    agree(&[&one, &two, &three]).await;

    // What each has at its end is on its disk: as it goes, it hands on what it leads.
    let mut kept = Vec::new();
    for host in [&one, &two, &three] {
        host.shutdown().await.unwrap();
        kept.push(host.store().state(0).unwrap());
    }
    drop((one, two, three, led));
    for (node, kept) in (1..=3).zip(&kept) {
        assert_eq!(open(node, &folder).state(0).unwrap(), *kept);
        assert!(kept.applied.is_some_and(|id| id.index >= last));
    }

    let wires = wires.again().await;
    let one = start(1, 3, &folder, &wires).await;
    let two = start(2, 3, &folder, &wires).await;
    let three = start(3, 3, &folder, &wires).await;
    formed(&[&one, &two, &three]).await;
    let led = leader(&[&one, &two, &three], 0).await;
    write(&led, 200, 201).await;
    agree(&[&one, &two, &three]).await;
    for host in [&one, &two, &three] {
        host.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_nodes_take_turns_in_founding_groups() {
    let folder = tempfile::tempdir().unwrap();
    let wires = Wires::new(2);
    let one = start(1, 2, &folder, &wires).await;
    let two = start(2, 2, &folder, &wires).await;
    formed(&[&one, &two]).await;
    let state = two.cluster().state();
    for (group, founder) in [(0, 1), (1, 2), (2, 1)] {
        leader(&[&one, &two], group).await;
        let name = two.family().group(group.try_into().unwrap()).unwrap();
        let record = &state.groups[&name];
        assert_eq!((record.id, record.founder), (group, founder));
        assert_eq!(record.voters, [1, 2].into());
    }
    one.shutdown().await.unwrap();
    assert_eq!(one.manager().group_names(), []);
    assert!(one.is_stopping());
    two.shutdown().await.unwrap();
}

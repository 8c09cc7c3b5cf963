//! Whole nodes with real Rafts on the store, connected inside one process.

use std::time::Duration;

use futures_util::future::select_ok;
use quicraft_examples::kv::store::limits::INSTALL_BYTES;
use quicraft_examples::kv::{
    Command, Config, DataFolder, GroupRaft, KvHost, Settings, Store, StoreOptions, TypeConfig,
};
use tempfile::TempDir;

use crate::entries::CLUSTER;
use crate::network::Switchboard;

type Metrics = openraft::RaftMetrics<TypeConfig>;

const WAIT: Option<Duration> = Some(Duration::from_secs(30));

fn config(node: u64, nodes: u64, folder: &TempDir) -> Config {
    let peers = (1..=nodes).filter(|&id| id != node);
    let settings = Settings::from_toml(&format!(
        "cluster = {CLUSTER:?}
        node = {node}
        data = {:?}
        listen = '127.0.0.1:{}'
        http = '127.0.0.1:{}'
        peers = {:?}
        ca = 'ca.pem'
        cert = 'cert.pem'
        key = 'key.pem'
        groups = 3
        heartbeat-ms = 50
        election-min-ms = 1000
        election-max-ms = 2000
        snapshot-every = 50
        keep-entries = 10",
        folder.path().join(format!("node-{node}")),
        7000 + node,
        8000 + node,
        peers
            .map(|id| format!("{id}=127.0.0.1:{}@127.0.0.1:{}", 7000 + id, 8000 + id))
            .collect::<Vec<_>>(),
    ));
    Config::new(settings.unwrap()).unwrap()
}

async fn start(node: u64, nodes: u64, folder: &TempDir, board: &Switchboard) -> KvHost {
    let config = config(node, nodes, folder);
    let data = DataFolder::open(&config.data, &config.cluster, node).unwrap();
    let store = Store::open(data, StoreOptions::default()).unwrap();
    let line = |group| board.line_of(node, group);
    KvHost::start(config, store, line, |group, raft| {
        board.plug(node, group, raft)
    })
    .await
    .unwrap()
}

/// The raft of whoever leads the group now and has heard from a majority.
async fn leader<'a>(hosts: &[&'a KvHost], group: u64) -> &'a GroupRaft {
    let leads = hosts.iter().map(|host| {
        let raft = &host.groups()[&group];
        Box::pin(async move {
            let leads = |m: &Metrics| m.state.is_leader() && m.last_quorum_acked.is_some();
            raft.wait(WAIT)
                .metrics(leads, "a leader")
                .await
                .map(|_| raft)
        })
    });
    select_ok(leads).await.unwrap().0
}

async fn write(raft: &GroupRaft, from: u64, to: u64) -> u64 {
    let mut last = 0;
    for index in from..to {
        let value = vec![7; 40_000];
        let command = Command::put(format!("key-{index}"), value);
        last = raft.client_write(command).await.unwrap().log_id.index;
    }
    last
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_away_catches_up_from_a_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let board = Switchboard::default();
    let one = start(1, 3, &folder, &board).await;
    let two = start(2, 3, &folder, &board).await;
    let three = start(3, 3, &folder, &board).await;
    let raft = leader(&[&one, &two, &three], 0).await;
    write(raft, 0, 20).await;
    let leader_id = *raft.node_id();

    let away = [&one, &two, &three]
        .into_iter()
        .find(|host| host.config().node != leader_id);
    let away = away.unwrap();
    board.cut(away.config().node);
    let last = write(raft, 20, 200).await;
    let purged = |m: &Metrics| m.purged.is_some_and(|id| id.index > 30);
    raft.wait(WAIT).metrics(purged, "purged").await.unwrap();
    assert_eq!(board.snapshots(), 0);
    board.mend(away.config().node);
    for host in [&one, &two, &three] {
        let raft = &host.groups()[&0];
        raft.wait(WAIT)
            .applied_index_at_least(Some(last), "all")
            .await
            .unwrap();
    }
    assert!(board.snapshots() > 0, "the log alone was not enough");
    assert!(last * 40_000 > INSTALL_BYTES as u64, "in several batches");
    let state = one.store().state(0).unwrap();
    for host in [&two, &three] {
        assert_eq!(
            host.store().state(0).unwrap(),
            state,
            "node {}",
            host.config().node
        );
    }

    for host in [&one, &two, &three] {
        host.shutdown(|_| {}).await.unwrap();
    }
    drop((one, two, three));
    // All come back with what they had.
    let board = Switchboard::default();
    for node in 1..=3 {
        let host = start(node, 3, &folder, &board).await;
        let found = host.store().state(0).unwrap();
        assert_eq!(found, state, "node {node}");
        host.shutdown(|_| {}).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_nodes_take_turns_in_founding_groups() {
    let folder = tempfile::tempdir().unwrap();
    let board = Switchboard::default();
    let one = start(1, 2, &folder, &board).await;
    for (group, founded) in [(0, true), (1, false), (2, true)] {
        assert_eq!(
            one.groups()[&group].is_initialized().await.unwrap(),
            founded,
            "{group}"
        );
    }
    let two = start(2, 2, &folder, &board).await;
    for group in 0..3 {
        leader(&[&one, &two], group).await;
    }
    let mut unregistered = Vec::new();
    one.shutdown(|group| unregistered.push(group))
        .await
        .unwrap();
    assert_eq!(unregistered, [0, 1, 2]);
    assert!(one.is_stopping());
    two.shutdown(|_| {}).await.unwrap();
}

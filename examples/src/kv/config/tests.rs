//! Every rule of the configuration, at its bounds.

use super::*;

const FILE: &str = r#"
    cluster = "kv.example"
    node = 1
    data = "/data"
    listen = "127.0.0.1:7001"
    http = "127.0.0.1:8001"
    peers = ["2=127.0.0.1:7002@127.0.0.1:8002", "3=kv-3:7003@kv-3:8003"]
    ca = "ca.pem"
    cert = "node.pem"
    key = "node.key"
"#;

fn settings() -> Settings {
    Settings::from_toml(FILE).unwrap()
}

/// The error of the settings after a change.
fn error(change: impl FnOnce(&mut Settings)) -> ConfigError {
    let mut settings = settings();
    change(&mut settings);
    Config::new(settings).unwrap_err()
}

#[test]
fn the_defaults_are_as_documented() {
    let config = Config::new(settings()).unwrap();
    assert_eq!(config.groups, 16);
    assert_eq!(config.raft.heartbeat, Duration::from_millis(200));
    assert_eq!(config.raft.election_min, Duration::from_millis(1000));
    assert_eq!(config.raft.election_max, Duration::from_millis(2000));
    assert!(config.raft.pre_vote);
    assert_eq!(
        (config.raft.snapshot_every, config.raft.keep_entries),
        (5000, 1000)
    );
    assert_eq!(config.request_timeout, Duration::from_secs(5));
    assert_eq!(config.max_requests, 1024);
    assert_eq!(config.cache_bytes, 32 * 1024 * 1024);
    assert_eq!(config.certificates.crl, None);
    assert_eq!(config.calls_per_second, 0);
    assert!(!config.drill_changes);
    assert_eq!(
        config.own(),
        KvNode::new("127.0.0.1:7001", "127.0.0.1:8001")
    );
    assert_eq!(config.nodes.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn flags_win_over_the_file() {
    let flags = Settings {
        groups: Some(3),
        node: Some(9),
        ..Settings::default()
    };
    let config = Config::new(flags.or(settings())).unwrap();
    assert_eq!((config.groups, config.node), (3, 9));
    let peers = vec!["5=h:1@h:2".to_owned()];
    let flags = Settings {
        peers,
        ..Settings::default()
    };
    let config = Config::new(flags.or(settings())).unwrap();
    assert_eq!(config.nodes.keys().copied().collect::<Vec<_>>(), [1, 5]);
}

#[test]
fn ids_are_checked() {
    let peer = |peer: &str| vec![peer.to_owned()];
    assert!(matches!(
        error(|s| s.node = Some(0)),
        ConfigError::NodeIdZero { .. }
    ));
    assert!(matches!(
        error(|s| s.peers = peer("0=h:1@h:2")),
        ConfigError::NodeIdZero { .. }
    ));
    let own = error(|s| s.peers = peer("1=h:1@h:2"));
    assert!(
        matches!(own, ConfigError::OwnIdAmongPeers { id: 1, .. }),
        "{own}"
    );
    let twice = error(|s| s.peers.push("2=h:1@h:2".to_owned()));
    assert!(
        matches!(twice, ConfigError::DuplicateId { id: 2 }),
        "{twice}"
    );
}

#[test]
fn addresses_are_checked() {
    for peer in ["2", "2=h:1", "x=h:1@h:2", "=h:1@h:2", "-1=h:1@h:2", "+=@"] {
        let error = error(|s| s.peers = vec![peer.to_owned()]);
        assert!(
            matches!(error, ConfigError::MalformedPeer { .. }),
            "{peer}: {error}"
        );
    }
    for peer in ["2=h@h:2", "2=h:1@h:0", "2=h:1@", "2=@h:2", "2=h:1@h:2@h:3"] {
        let error = error(|s| s.peers = vec![peer.to_owned()]);
        assert!(
            matches!(error, ConfigError::MalformedAddress { .. }),
            "{peer}: {error}"
        );
    }
    let bad = error(|s| s.advertise = Some("nowhere".to_owned()));
    assert!(matches!(bad, ConfigError::MalformedAddress { .. }), "{bad}");
    let everywhere = error(|s| s.listen = Some("0.0.0.0:7001".parse().unwrap()));
    assert!(
        matches!(everywhere, ConfigError::NothingToAdvertise { .. }),
        "{everywhere}"
    );
    assert!(
        everywhere.to_string().contains("--advertise"),
        "{everywhere}"
    );
    let everywhere = error(|s| s.http = Some("[::]:7001".parse().unwrap()));
    assert!(
        everywhere.to_string().contains("--advertise-http"),
        "{everywhere}"
    );

    // The same one among two peers, and a peer's the same as this node's.
    let twice = error(|s| s.peers.push("4=KV-3:7003@h:2".to_owned()));
    assert!(
        matches!(
            twice,
            ConfigError::DuplicateAddress {
                first: 3,
                second: 4,
                what: "raft",
                ..
            }
        ),
        "{twice}"
    );
    let own = error(|s| s.peers.push("4=h:1@127.0.0.1:8001".to_owned()));
    assert!(
        matches!(
            own,
            ConfigError::DuplicateAddress {
                first: 1,
                second: 4,
                what: "http",
                ..
            }
        ),
        "{own}"
    );
    // UDP and TCP may share one.
    let mut good = settings();
    good.peers = vec!["2=h:1@h:1".to_owned()];
    Config::new(good).unwrap();
}

#[test]
fn numbers_are_checked_at_their_bounds() {
    assert!(matches!(
        error(|s| s.groups = Some(0)),
        ConfigError::OutOfRange { .. }
    ));
    let past = SHARDS as u64 + 1;
    assert!(matches!(
        error(|s| s.groups = Some(past)),
        ConfigError::OutOfRange { .. }
    ));
    let mut most = settings();
    most.groups = Some(SHARDS as u64);
    Config::new(most).unwrap();
    assert!(matches!(
        error(|s| s.heartbeat_ms = Some(1000)),
        ConfigError::Times { .. }
    ));
    assert!(matches!(
        error(|s| s.election_max_ms = Some(1000)),
        ConfigError::Times { .. }
    ));
    let many = |number| {
        (2..=number)
            .map(|id| format!("{id}=h{id}:1@h{id}:2"))
            .collect()
    };
    assert!(matches!(
        error(|s| s.peers = many(65)),
        ConfigError::TooManyNodes { nodes: 65 }
    ));
    let mut most = settings();
    most.peers = many(64);
    Config::new(most).unwrap();
}

#[test]
fn what_is_missing_is_named() {
    let missing = error(|s| s.data = None);
    assert!(
        matches!(missing, ConfigError::Missing { name: "data" }),
        "{missing}"
    );
    assert!(matches!(
        error(|s| s.cluster = Some(String::new())),
        ConfigError::Empty { .. }
    ));
    let unknown = Settings::from_toml("nodee = 1").unwrap_err();
    assert!(unknown.to_string().contains("nodee"), "{unknown}");
}

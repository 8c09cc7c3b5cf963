//! `kv` as an operator meets it: bad input ends with one line that says what to do and changes
//! nothing on the disk; a node that runs stops in order.
#![expect(clippy::unwrap_used, reason = "a test ends where something fails")]

use std::collections::BTreeMap;
use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use quicraft_certs::{Authority, ClusterName, IssueOptions, NodeId, UnixTime};
use quicraft_examples::cluster::ports::Ports;
use quicraft_examples::cluster::wait::{Look, until};
use quicraft_examples::kv::DataFolder;
use tempfile::TempDir;

const CLUSTER: &str = "kv.example";

/// The settings of a node that would start, to be spoilt one at a time.
struct Setup {
    folder: TempDir,
    authority: Authority,
    settings: BTreeMap<&'static str, String>,
    peers: Vec<String>,
}

impl Setup {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new(ClusterName::new(CLUSTER).unwrap()).unwrap();
        let mut ports = Ports::default();
        let mut address = || format!("127.0.0.1:{}", ports.take().unwrap());
        let mut setup = Self {
            settings: BTreeMap::from([
                ("cluster", CLUSTER.to_owned()),
                ("node", "1".to_owned()),
                ("listen", address()),
                ("http", address()),
                ("groups", "2".to_owned()),
            ]),
            peers: Vec::new(),
            authority,
            folder,
        };
        let files = setup.issue(1, &IssueOptions::default());
        for (name, path) in ["ca", "cert", "key"].into_iter().zip(files) {
            setup.set(name, &path);
        }
        setup.set("data", &setup.data());
        setup
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// CA, certificate and key of a node.
    fn issue(&self, node: u64, options: &IssueOptions) -> [PathBuf; 3] {
        let id = NodeId::new(node).unwrap();
        let issued = self.authority.issue_with(id, options).unwrap();
        let place = tempfile::tempdir_in(self.folder.path()).unwrap().keep();
        let files = issued.write(&place).unwrap();
        [files.ca, files.cert, files.key]
    }

    fn set(&mut self, name: &'static str, value: &Path) {
        self.settings
            .insert(name, value.to_str().unwrap().to_owned());
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kv"));
        for (name, value) in &self.settings {
            command.arg(format!("--{name}={value}"));
        }
        for peer in &self.peers {
            command.arg(format!("--peer={peer}"));
        }
        command.env_remove("RUST_LOG").stdin(Stdio::null());
        command
    }

    /// Runs the node, which must refuse to start, and returns its one line.
    fn refused(&self) -> String {
        let before = tree(self.folder.path());
        let output = self.command().output().unwrap();
        let line = one_line(&output);
        assert_eq!(tree(self.folder.path()), before, "changed by: {line}");
        line
    }
}

/// All files below a folder with what is in them.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let content = path.is_file().then(|| fs::read(&path).unwrap());
            if content.is_none() {
                folders.push(path.clone());
            }
            found.insert(path, content);
        }
    }
    found
}

fn one_line(output: &Output) -> String {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(!output.status.success(), "it did not fail: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "not one line: {stderr}");
    assert!(output.stdout.is_empty());
    stderr
}

#[track_caller]
fn assert_says(line: &str, words: &[&str]) {
    for word in words {
        assert!(line.contains(word), "{word:?} is missing in: {line}");
    }
}

#[test]
fn a_key_that_is_not_there_is_named() {
    let mut setup = Setup::new();
    let missing = setup.folder.path().join("no.key");
    setup.set("key", &missing);
    assert_says(&setup.refused(), &["no.key cannot be read", "--key"]);
}

#[cfg(unix)]
#[test]
fn a_key_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let setup = Setup::new();
    let key = Path::new(&setup.settings["key"]);
    fs::set_permissions(key, fs::Permissions::from_mode(0o640)).unwrap();
    assert_says(&setup.refused(), &["640", "chmod 600"]);
}

#[test]
fn the_key_of_another_certificate_is_refused() {
    let mut setup = Setup::new();
    let [_, _, other] = setup.issue(1, &IssueOptions::default());
    setup.set("key", &other);
    assert_says(&setup.refused(), &["does not belong to", "certificate"]);
}

#[test]
fn the_certificate_of_another_node_is_refused() {
    let mut setup = Setup::new();
    let [_, cert, key] = setup.issue(2, &IssueOptions::default());
    setup.set("cert", &cert);
    setup.set("key", &key);
    assert_says(&setup.refused(), &["is of node 2", "expected was 1"]);
}

#[test]
fn an_expired_certificate_is_refused() {
    let mut setup = Setup::new();
    let at = |seconds| Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)));
    let mut options = IssueOptions::default();
    options.not_before = at(1_000_000_000);
    options.not_after = at(1_000_003_600);
    let [_, cert, key] = setup.issue(1, &options);
    setup.set("cert", &cert);
    setup.set("key", &key);
    assert_says(&setup.refused(), &["expired"]);
}

#[test]
fn a_udp_port_in_use_is_named_and_has_its_own_exit_code() {
    let setup = Setup::new();
    let listen = &setup.settings["listen"];
    let _held = UdpSocket::bind(listen).unwrap();
    assert_says(&setup.refused(), &[listen, "UDP", "--listen"]);
    assert_eq!(setup.command().output().unwrap().status.code(), Some(3));
}

#[test]
fn a_tcp_port_in_use_is_named() {
    let setup = Setup::new();
    let http = &setup.settings["http"];
    let _held = TcpListener::bind(http).unwrap();
    assert_says(&setup.refused(), &[http, "TCP", "--http"]);
}

#[test]
fn node_ids_and_addresses_are_checked() {
    let spoilt = |spoil: fn(&mut Setup)| {
        let mut setup = Setup::new();
        spoil(&mut setup);
        setup.refused()
    };
    let line = spoilt(|setup| drop(setup.settings.insert("node", "0".to_owned())));
    assert_says(&line, &["node id 0", "number the nodes from 1"]);
    let line = spoilt(|setup| setup.peers.push("0=127.0.0.1:5@127.0.0.1:6".to_owned()));
    assert_says(&line, &["node id 0", "--peer"]);
    let line = spoilt(|setup| setup.peers.push("1=127.0.0.1:5@127.0.0.1:6".to_owned()));
    assert_says(&line, &["own id 1", "only the other nodes"]);
    let line = spoilt(|setup| {
        setup.peers.push("2=127.0.0.1:5@127.0.0.1:6".to_owned());
        setup.peers.push("2=127.0.0.1:7@127.0.0.1:8".to_owned());
    });
    assert_says(&line, &["node id 2", "twice"]);
    let line = spoilt(|setup| {
        setup.peers.push("2=127.0.0.1:5@127.0.0.1:6".to_owned());
        setup.peers.push("3=127.0.0.1:5@127.0.0.1:8".to_owned());
    });
    assert_says(&line, &["nodes 2 and 3", "127.0.0.1:5"]);
}

#[test]
fn a_file_with_an_unknown_setting_is_refused() {
    let setup = Setup::new();
    let file = setup.folder.path().join("node.toml");
    fs::write(&file, "nodee = 1\n").unwrap();
    let output = setup.command().arg("--config").arg(&file).output().unwrap();
    assert_says(&one_line(&output), &["node.toml", "nodee"]);
}

#[test]
fn the_data_folder_of_another_node_or_cluster_is_refused() {
    for (cluster, node) in [(CLUSTER, 2), ("other.example", 1)] {
        let setup = Setup::new();
        drop(DataFolder::open(&setup.data(), cluster, node).unwrap());
        let owner = format!("belongs to node {node} of cluster {cluster:?}");
        assert_says(&setup.refused(), &[&owner, "--data"]);
    }
}

#[test]
fn a_folder_with_something_else_is_refused() {
    let setup = Setup::new();
    fs::create_dir(setup.data()).unwrap();
    fs::write(setup.data().join("letter.txt"), "dear").unwrap();
    assert_says(&setup.refused(), &["not empty", "--data"]);
}

/// A node that is killed when the test ends early.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Running {
    async fn start(setup: &Setup) -> Self {
        let mut command = setup.command();
        let running = Self(command.stderr(Stdio::null()).spawn().unwrap());
        let url = format!("http://{}/healthz", setup.settings["http"]);
        until("a node with leaders", Duration::from_secs(60), async || {
            let Ok(answer) = reqwest::get(&url).await else {
                return Ok(Look::Missing("an answer".to_owned()));
            };
            let health: serde_json::Value = answer.json().await?;
            Ok(if health["groups_with_leader"] == 2 {
                Look::There(())
            } else {
                Look::Missing(health.to_string())
            })
        })
        .await
        .unwrap();
        running
    }

    /// The Raft terms of all groups.
    async fn terms(setup: &Setup) -> Vec<u64> {
        let url = format!("http://{}/status", setup.settings["http"]);
        let status: serde_json::Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        let groups = status["groups"].as_array().unwrap();
        let terms = groups.iter().map(|group| group["term"].as_u64().unwrap());
        terms.collect()
    }

    async fn ends(&mut self) -> Option<i32> {
        until("the end of the node", Duration::from_secs(60), async || {
            Ok(match self.0.try_wait().unwrap() {
                Some(status) => Look::There(status.code()),
                None => Look::Missing("its end".to_owned()),
            })
        })
        .await
        .unwrap()
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_node_stops_in_order_and_has_its_data_when_it_is_back() {
    let setup = Setup::new();
    let url = format!("http://{}/kv/greeting", setup.settings["http"]);
    let mut node = Running::start(&setup).await;
    let http = reqwest::Client::new();
    let written = http.put(&url).body("hello").send().await.unwrap();
    assert!(written.status().is_success());
    // Two processes on one folder would ruin it; the ports are refused first.
    assert!(!setup.command().output().unwrap().status.success());
    let before = Running::terms(&setup).await;

    let id = node.0.id().to_string();
    let told = Command::new("kill").args(["-TERM", &id]).status().unwrap();
    assert!(told.success());
    assert_eq!(node.ends().await, Some(0));

    let _node = Running::start(&setup).await;
    let read = reqwest::get(&url).await.unwrap();
    assert_eq!(read.text().await.unwrap(), "hello");
    // It was the leader, but it must not lead on in its old term: a leader's own disk may lack
    // entries that its followers have, and it would give their log ids to others.
    let after = Running::terms(&setup).await;
    let newer = before
        .iter()
        .zip(&after)
        .all(|(before, after)| after > before);
    assert!(newer, "{before:?}, then {after:?}");
}

#[tokio::test]
async fn a_node_that_watches_its_input_stops_with_it() {
    let setup = Setup::new();
    let mut command = setup.command();
    // Its input has ended before it looks.
    let mut node = Running(
        command
            .arg("--until-stdin-ends")
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    assert_eq!(node.ends().await, Some(0));
}

//! The walk of README.md, as a new user types it: certificates from the command alone, three nodes by
//! hand, a renewal, a revocation. Only the ports are others.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test ends where something fails")]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use quicraft_examples::cluster::client::Clients;
use quicraft_examples::cluster::ports::Ports;
use quicraft_examples::cluster::status::{Status, missing, not_one_link};
use quicraft_examples::cluster::wait::{Look, until};
use quicraft_examples::cluster::workload::Workload;
use tempfile::TempDir;

const README: &str = include_str!("../README.md");

const LONG: Duration = Duration::from_secs(60);

/// The blocks of README.md that are marked like this, with ports that are free.
struct Walk {
    folder: TempDir,
    readme: String,
    path: OsString,
    clients: Clients,
    nodes: Vec<Child>,
}

impl Drop for Walk {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            // One that has ended by itself cannot be killed.
            drop(node.kill());
            drop(node.wait());
        }
    }
}

impl Walk {
    fn new() -> Self {
        let (mut ports, mut readme) = (Ports::default(), README.to_owned());
        let mut urls = Vec::new();
        for (node, raft) in [(8001, 7001), (8002, 7002), (8003, 7003)] {
            for of_readme in [node, raft] {
                let (old, new) = (format!("127.0.0.1:{of_readme}"), ports.take().unwrap());
                assert!(readme.matches(&old).count() >= 3, "{old}");
                readme = readme.replace(&old, &format!("127.0.0.1:{new}"));
                if of_readme == node {
                    urls.push(format!("http://127.0.0.1:{new}"));
                }
            }
        }
        let programs = [Path::new(env!("CARGO_BIN_EXE_kv")), &certs()].map(|program| {
            let folder = program.parent().unwrap();
            folder.to_owned()
        });
        let system = std::env::var_os("PATH").unwrap();
        let path = programs.into_iter().chain(std::env::split_paths(&system));
        Self {
            folder: tempfile::tempdir().unwrap(),
            readme,
            path: std::env::join_paths(path).unwrap(),
            // The number of groups is the default.
            clients: Clients::new(urls, 16, 1, Workload::new(0, 16, 0)).unwrap(),
            nodes: Vec::new(),
        }
    }

    fn blocks(&self, mark: &str) -> Vec<String> {
        let start = format!("```{mark}\n");
        let blocks = self.readme.split(&start).skip(1);
        let blocks = blocks.map(|block| block.split("```").next().unwrap());
        blocks.map(str::to_owned).collect()
    }

    fn shell(&self, script: &str) -> Command {
        let mut shell = Command::new("sh");
        shell
            .args(["-e", "-u", "-c", script])
            .env("PATH", &self.path)
            .env_remove("RUST_LOG")
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        shell
    }

    /// Types the lines of a block, without those whose program is not here. Returns what they said.
    fn type_in(&self, block: &str) -> String {
        let skipped = ["openssl", "curl"]
            .into_iter()
            .filter(|program| !self.has(program));
        let skipped: Vec<&str> = skipped.collect();
        let is_here = |line: &&str| {
            let missing = skipped.iter().find(|program| line.starts_with(*program));
            missing.inspect(|program| eprintln!("skipped, because {program} is not here: {line}"));
            missing.is_none()
        };
        let lines: Vec<&str> = block.lines().filter(is_here).collect();
        let output = self.shell(&lines.join("\n")).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}{errors}");
        said
    }

    fn has(&self, program: &str) -> bool {
        let looked = self.shell(&format!("command -v {program}")).output();
        looked.unwrap().status.success()
    }

    /// Starts what a user would start in a terminal.
    fn start(&mut self, block: &str) {
        let log = self
            .folder
            .path()
            .join(format!("log-{}", self.nodes.len() + 1));
        let log = std::fs::File::create(log).unwrap();
        let mut node = self.shell(&format!("exec {block}"));
        self.nodes.push(node.stderr(log).spawn().unwrap());
    }

    /// Waits until nothing is lacking in what the nodes say.
    async fn until(
        &self,
        what: &'static str,
        lacking: impl Fn(&[Status]) -> Option<String>,
    ) -> Vec<Status> {
        until(what, LONG, async || {
            let mut all = Vec::new();
            for node in 0..3 {
                match self.clients.status(node).await {
                    Ok(status) => all.push(status),
                    Err(missing) => return Ok(Look::Missing(missing)),
                }
            }
            Ok(lacking(&all).map_or(Look::There(all), Look::Missing))
        })
        .await
        .unwrap()
    }
}

/// The command of the other crate; built if it is not there, as when only this crate is tested.
fn certs() -> PathBuf {
    let own = Path::new(env!("CARGO_BIN_EXE_kv"));
    let program = own.with_file_name("quicraft-certs");
    if !program.exists() {
        let mut cargo = Command::new(env!("CARGO"));
        let built = cargo
            .args(["build", "-p", "quicraft-certs", "--bin", "quicraft-certs"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        assert!(built.unwrap().success());
    }
    program
}

/// What keeps the nodes from being a cluster.
fn apart(all: &[Status]) -> Option<String> {
    missing(all).or_else(|| not_one_link(all))
}

/// What node 3 and the others still have of each other.
fn not_evicted(all: &[Status]) -> Option<String> {
    let mut ends = all.iter().flat_map(|status| {
        let links = status.links.iter();
        links.filter(|link| status.node == 3 || link.peer == 3)
    });
    let wrong = ends.find(|link| link.connected || link.last_code.as_deref() != Some("REVOKED"));
    let parked = all.get(2).is_some_and(|third| {
        let mut links = third.links.iter();
        links.all(|link| link.state == "parked")
    });
    wrong
        .map(|link| format!("no link and REVOKED: {link:?}"))
        .or_else(|| (!parked).then(|| "node 3 that has given up".to_owned()))
}

#[tokio::test]
async fn a_new_user_brings_up_a_cluster_by_hand() {
    let mut walk = Walk::new();
    let blocks = walk.blocks("sh");
    let [make, ask, renew] = blocks.as_slice() else {
        panic!("{} blocks", blocks.len());
    };
    let said = walk.type_in(make);
    if walk.has("openssl") {
        assert!(said.contains("node-1/node-1.crt: OK"), "{said}");
    }
    let nodes = walk.blocks("sh node");
    assert_eq!(nodes.len(), 3);
    for node in &nodes {
        walk.start(node);
    }
    walk.until("a cluster", apart).await;
    let said = walk.type_in(ask);
    if walk.has("curl") {
        assert!(said.contains("hello"), "{said}");
    }
    for node in 1..=3 {
        let log = walk.folder.path().join(format!("log-{node}"));
        let log = std::fs::read_to_string(log).unwrap();
        let first = log
            .lines()
            .find(|line| line.contains("the node has started"));
        assert!(
            first.is_some_and(|line| line.contains(&format!("node={node}"))),
            "{log}"
        );
    }

    let before = walk.until("a cluster", apart).await;
    walk.type_in(renew);
    walk.until("links with the new certificate", |all| {
        let shown = all[0].credentials.certificate.as_str();
        let seen = all[1].links.iter().find(|link| link.peer == 1);
        let seen = seen.and_then(|link| link.certificate.as_deref());
        let old = before[0].credentials.certificate.as_str();
        let renewed = shown != old && seen == Some(shown);
        (!renewed).then(|| format!("{shown} instead of {seen:?}"))
    })
    .await;

    for block in walk.blocks("sh revoke") {
        walk.type_in(&block);
    }
    walk.until("node 3 alone", not_evicted).await;
    for block in walk.blocks("sh again") {
        walk.type_in(&block);
    }
    walk.until("a cluster with node 3 again", apart).await;
}

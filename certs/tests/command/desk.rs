//! A folder to work in, and the command in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use quicraft_certs::{
    Authority, ClusterName, IssueOptions, IssuedNode, NodeId, UnixTime, WallClock,
};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const DAY: u64 = 24 * 60 * 60;

/// How most commands name the CA of these tests.
pub(crate) const CA: &str = "--ca certs --ca-key safe/ca.key";

/// The folder of the command itself.
pub(crate) fn command() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_quicraft-certs"))
}

/// A new folder, in which commands run.
pub(crate) struct Desk(TempDir);

/// What a command said.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) exit: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Told {
    fn from(output: Output) -> Self {
        Self {
            exit: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Desk {
    pub(crate) fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// With a CA for `prod.example`, in `certs` and `safe`.
    pub(crate) fn with_ca() -> Self {
        let desk = Self::empty();
        desk.ok("ca init --cluster prod.example --out certs --ca-key safe/ca.key");
        desk
    }

    /// With a CA, and node 1 in `one`.
    pub(crate) fn with_node() -> Self {
        let desk = Self::with_ca();
        desk.ok(&format!(
            "node issue --cluster prod.example --id 1 {CA} --out one"
        ));
        desk
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The names of the files in a folder.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path(folder))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[cfg(unix)]
    pub(crate) fn mode(&self, name: &str) -> u32 {
        use std::os::unix::fs::PermissionsExt;
        fs::metadata(self.path(name)).unwrap().permissions().mode() & 0o777
    }

    #[cfg(unix)]
    pub(crate) fn set_mode(&self, name: &str, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Runs the command with these words.
    pub(crate) fn run(&self, words: &str) -> Told {
        Command::new(command())
            .args(words.split_whitespace())
            .current_dir(self.folder())
            .output()
            .unwrap()
            .into()
    }

    /// Runs the command, which must work without a warning.
    #[track_caller]
    pub(crate) fn ok(&self, words: &str) -> String {
        let told = self.run(words);
        assert_eq!(
            (told.exit, told.err.as_str()),
            (Some(0), ""),
            "{words}: {told:?}"
        );
        told.out
    }

    /// Runs the command, which must work with one warning that holds `text`.
    #[track_caller]
    pub(crate) fn warned(&self, words: &str, text: &str) -> String {
        let told = self.run(words);
        assert_eq!(told.exit, Some(0), "{words}: {told:?}");
        let lines: Vec<&str> = told.err.lines().collect();
        assert!(
            matches!(lines[..], [line] if line.starts_with("quicraft-certs: warning: ") && line.contains(text)),
            "{words}: {told:?}"
        );
        told.out
    }

    /// Runs the command, which must fail with an exit code and one line on stderr that holds
    /// `text`.
    #[track_caller]
    pub(crate) fn fails(&self, words: &str, exit: i32, text: &str) {
        let told = self.run(words);
        assert_eq!(
            (told.exit, told.out.as_str()),
            (Some(exit), ""),
            "{words}: {told:?}"
        );
        let lines: Vec<&str> = told.err.lines().collect();
        assert!(
            matches!(lines[..], [line] if line.starts_with("quicraft-certs: ") && line.contains(text)),
            "{words}: {told:?}"
        );
    }

    /// Runs the command with `--json`: its exit code, and the one object that it prints.
    #[track_caller]
    pub(crate) fn json(&self, words: &str) -> (i32, Value) {
        let told = self.run(&format!("{words} --json"));
        assert_eq!(told.err, "", "{words}");
        assert_eq!(told.out.lines().count(), 1, "{words}: {told:?}");
        let object: Value = serde_json::from_str(&told.out).unwrap();
        assert!(object.is_object(), "{words}: {told:?}");
        (told.exit.unwrap(), object)
    }

    /// The CA of this desk, as the library reads it.
    pub(crate) fn authority(&self) -> Authority {
        Authority::load(&self.path("certs/ca.crt"), &self.path("safe/ca.key")).unwrap()
    }

    /// Writes a CA that the library has made, where `--ca` and `--ca-key` of [`CA`] look.
    pub(crate) fn put_authority(&self, authority: &Authority) {
        self.write("certs/ca.crt", &authority.certificate_pem());
        self.write("safe/ca.key", authority.key_pem());
        #[cfg(unix)]
        self.set_mode("safe/ca.key", 0o600);
    }
}

pub(crate) fn prod() -> ClusterName {
    ClusterName::new("prod.example").unwrap()
}

pub(crate) fn now() -> u64 {
    WallClock::system().now().as_secs()
}

pub(crate) fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

/// A CA for `prod.example` that was made at another time.
pub(crate) fn authority_of(time: u64) -> Authority {
    Authority::with_clock(prod(), WallClock::manual(at(time))).unwrap()
}

/// A certificate for node 1 with dates of our own.
pub(crate) fn issued(authority: &Authority, not_before: u64, not_after: u64) -> IssuedNode {
    let mut options = IssueOptions::default();
    options.not_before = Some(at(not_before));
    options.not_after = Some(at(not_after));
    authority
        .issue_with(NodeId::new(1).unwrap(), &options)
        .unwrap()
}

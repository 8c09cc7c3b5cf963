//! Signals to a process: one that asks it to stop, and a pause that ends however we end.
//!
//! They are sent by the system's own shell, because a call of our own would need unsafe code.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};

use super::error::ClusterError;
use super::limits::SIGNAL;

/// Stops the process, says so, waits until our pipe ends, and lets the process go on. It ignores
/// what a terminal sends to everybody: it has to be there at the end.
const PAUSE: &str =
    r#"trap '' INT TERM HUP; kill -STOP "$0" || exit 1; echo; read -r _; kill -CONT "$0""#;

/// Asks a process to stop in order, with SIGTERM.
///
/// # Errors
///
/// [`ClusterError::System`] or [`ClusterError::NotInTime`], when the signal cannot be sent.
pub async fn terminate(pid: u32) -> Result<(), ClusterError> {
    let mut shell = shell(r#"kill -TERM "$0""#, pid)?;
    ended(&mut shell, "a signal to stop").await
}

/// A process that is stopped with SIGSTOP. Dropping it lets the process go on, and so does the end
/// of this one, whatever ends it.
#[derive(Debug)]
pub struct Pause {
    shell: Child,
}

impl Pause {
    /// Stops the process `pid`; the signal is sent when this returns.
    ///
    /// # Errors
    ///
    /// [`ClusterError::System`] or [`ClusterError::NotInTime`], when the signal cannot be sent.
    ///
    /// # Cancel safety
    ///
    /// When it is dropped, the process goes on.
    pub async fn begin(pid: u32) -> Result<Self, ClusterError> {
        let mut shell = shell(PAUSE, pid)?;
        let mut line = String::new();
        if let Some(said) = shell.stdout.take() {
            let said = timeout(SIGNAL, BufReader::new(said).read_line(&mut line)).await;
            said.map_err(|_| late("a signal to pause", pid))?
                .map_err(refused)?;
        }
        if line.is_empty() {
            return Err(refused(std::io::Error::other("there is no such process")));
        }
        Ok(Self { shell })
    }

    /// Lets the process go on with SIGCONT, if it is still there. Returns a moment at most a
    /// shell's end after the signal.
    ///
    /// # Errors
    ///
    /// [`ClusterError::System`] or [`ClusterError::NotInTime`], when the shell does not end.
    ///
    /// # Cancel safety
    ///
    /// When it is dropped, the process goes on.
    pub async fn end(mut self) -> Result<Instant, ClusterError> {
        drop(self.shell.stdin.take());
        let ended = timeout(SIGNAL, self.shell.wait()).await;
        // That the process is gone by now is no failure of ours.
        ended
            .map_err(|_| late("a signal to go on", 0))?
            .map_err(refused)?;
        Ok(Instant::now())
    }
}

fn shell(script: &str, pid: u32) -> Result<Child, ClusterError> {
    Command::new("sh")
        .args(["-c", script])
        .arg(pid.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(refused)
}

async fn ended(shell: &mut Child, what: &'static str) -> Result<(), ClusterError> {
    let status = timeout(SIGNAL, shell.wait())
        .await
        .map_err(|_| late(what, 0))?
        .map_err(refused)?;
    if status.success() {
        Ok(())
    } else {
        Err(refused(std::io::Error::other("there is no such process")))
    }
}

const fn refused(source: std::io::Error) -> ClusterError {
    ClusterError::System {
        what: "a signal to a node",
        source,
    }
}

fn late(what: &'static str, pid: u32) -> ClusterError {
    ClusterError::NotInTime {
        what,
        limit: SIGNAL,
        missing: format!("process {pid}"),
    }
}

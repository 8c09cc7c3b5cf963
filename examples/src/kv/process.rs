//! A node as an operating-system process: settings from a file and from flags, the log, one line
//! on standard error when something is wrong, and an exit code.
//!
//! `kv` is nothing but this. `kv-cluster` starts itself as a node with it, so that the main job
//! needs no other binary.

use std::error::Error;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use tokio::sync::oneshot;
use tracing_subscriber::EnvFilter;

use super::config::Settings;
use super::config::{Config, ConfigError};
use super::metrics;
use super::node::{Node, NodeError};
use super::panics::log_panics;
use super::stop::StopSignal;

/// The exit code when another process has one of the node's addresses; all other failures are 1.
pub const ADDRESS_IN_USE: u8 = 3;

/// How long a node may take to stop, all steps together. Their own limits are within it.
const STOP: Duration = Duration::from_secs(25);

/// How long work that blocks may go on after everything has stopped.
const REST: Duration = Duration::from_secs(2);

/// What the command line of a node says.
#[derive(Debug, Clone, clap::Args)]
#[non_exhaustive]
pub struct NodeArgs {
    /// A TOML file with the same names as the flags below; a flag wins over the file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Stop when standard input ends: whoever started the node is gone then
    #[arg(long, hide = true)]
    pub until_stdin_ends: bool,
    /// All settings.
    #[command(flatten)]
    pub settings: Settings,
}

/// Why a node's process ends with a failure.
#[derive(Debug, thiserror::Error)]
enum ProcessError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error("the operating system gives no threads or no signals; raise its limits")]
    System(#[source] std::io::Error),
    #[error("the node did not stop within {} s and was cut off; no data is lost", STOP.as_secs())]
    StopTimeout,
}

/// Runs a node until SIGTERM or ctrl-c. When something is wrong it prints one line that says what
/// to do, and the exit code is not 0.
#[must_use]
pub fn run(args: NodeArgs) -> ExitCode {
    start_log();
    metrics::start();
    match serve(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", one_line(&error));
            match error {
                ProcessError::Node(error) if error.is_address_in_use() => {
                    ExitCode::from(ADDRESS_IN_USE)
                }
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// The log goes to standard error; `RUST_LOG` chooses what of it. A start that fails logs nothing
/// by default: its one line stands alone.
fn start_log() {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("off,quicraft=info,openraft=error"));
    // Another subscriber is there already only in tests, and serves as well.
    drop(
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(false)
            .try_init(),
    );
}

fn serve(args: NodeArgs) -> Result<(), ProcessError> {
    let settings = match &args.config {
        Some(path) => args.settings.or(Settings::from_file(path)?),
        None => args.settings,
    };
    let config = Config::new(settings)?;
    log_panics(config.node);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(ProcessError::System)?;
    let result = runtime.block_on(until_stopped(config, args.until_stdin_ends));
    runtime.shutdown_timeout(REST);
    result
}

async fn until_stopped(config: Config, until_stdin_ends: bool) -> Result<(), ProcessError> {
    let mut signal = StopSignal::listen().map_err(ProcessError::System)?;
    let stdin = until_stdin_ends.then(stdin_ends).transpose();
    let stdin = stdin.map_err(ProcessError::System)?;
    let asked = async move {
        let gone = async {
            match stdin {
                Some(ends) => drop(ends.await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = signal.next() => {}
            () = gone => {}
        }
    };
    tokio::pin!(asked);
    let node = tokio::select! {
        node = Node::start(config) => node?,
        () = &mut asked => return Ok(()),
    };
    let (stop, stopping) = oneshot::channel::<()>();
    let running = node.run(async move { drop(stopping.await) });
    tokio::pin!(running);
    tokio::select! {
        ended = &mut running => return Ok(ended?),
        () = asked => drop(stop),
    }
    match tokio::time::timeout(STOP, running).await {
        Ok(ended) => Ok(ended?),
        Err(_) => Err(ProcessError::StopTimeout),
    }
}

/// Tells when standard input ends. The thread that reads it ends with the process.
fn stdin_ends() -> std::io::Result<oneshot::Receiver<()>> {
    let (ended, ends) = oneshot::channel();
    std::thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || {
            let mut ignored = [0; 64];
            let mut stdin = std::io::stdin().lock();
            while matches!(stdin.read(&mut ignored), Ok(1..)) {}
            drop(ended);
        })?;
    Ok(ends)
}

/// An error with all its reasons, without line breaks. A reason that the text before it has quoted
/// already is not said twice.
#[must_use]
pub fn one_line(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut reason = error.source();
    while let Some(error) = reason {
        let text = error.to_string();
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        reason = error.source();
    }
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

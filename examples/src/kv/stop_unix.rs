//! When the operator asks the process to stop: SIGTERM, or ctrl-c.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// The two signals, listened to from the moment that this is made. Before, each ends the process.
#[derive(Debug)]
pub struct StopSignal {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl StopSignal {
    /// Starts to listen; must be called in a tokio runtime.
    ///
    /// # Errors
    ///
    /// What the system says when it does not let us listen.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when it is dropped.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

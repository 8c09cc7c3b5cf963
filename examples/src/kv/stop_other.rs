//! When the operator asks the process to stop: ctrl-c, where there is no SIGTERM.

use std::io;

/// Listens to ctrl-c. Before, it ends the process.
#[derive(Debug)]
pub struct StopSignal;

impl StopSignal {
    /// Starts to listen; must be called in a tokio runtime.
    ///
    /// # Errors
    ///
    /// None here.
    pub fn listen() -> io::Result<Self> {
        Ok(Self)
    }

    /// Waits for the next one.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when it is dropped.
    pub async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            // Nobody can ask us to stop; whoever wants to has to end the process.
            std::future::pending::<()>().await;
        }
    }
}

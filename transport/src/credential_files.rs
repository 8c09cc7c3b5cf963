//! Follows the files of a node's credentials, so that a rotation is a matter of writing files.
//!
//! It must not know links: who holds them is told by the store.

use std::sync::Arc;

use quicraft_certs::{
    CredentialError, CredentialFiles, CredentialSettings, CredentialStore, Credentials, FileStamp,
    ReplaceError,
};
use tokio::time::sleep;

use crate::event::{Event, Events};
use crate::limits::CREDENTIAL_FILES_POLL;

/// Why the files of the credentials were not taken. The former credentials stay in use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// A file cannot be read, or what it holds cannot be used.
    #[error(transparent)]
    Load(#[from] CredentialError),
    /// They are those of another node, or not valid now.
    #[error(transparent)]
    Replace(#[from] ReplaceError),
    /// The runtime stops.
    #[error("the runtime stopped before the files were read")]
    Stopped,
}

/// Reads the files and takes what they hold.
///
/// # Errors
///
/// [`ReloadError`]; the former credentials stay in use.
pub(crate) async fn read(
    store: &Arc<CredentialStore>,
    files: &CredentialFiles,
    settings: &CredentialSettings,
) -> Result<(), ReloadError> {
    let (store, files, settings) = (Arc::clone(store), files.clone(), settings.clone());
    let reading = tokio::task::spawn_blocking(move || {
        store.replace(Credentials::load(&files, &settings)?)?;
        Ok(())
    });
    reading.await.map_err(|_| ReloadError::Stopped)?
}

/// Reads the files, looks at them again and again, and reads them when one has changed.
#[expect(clippy::infinite_loop, reason = "the task ends with the transport")]
pub(crate) async fn follow(
    store: Arc<CredentialStore>,
    files: CredentialFiles,
    settings: CredentialSettings,
    events: Events,
) {
    // What the host has read may be older than what lies there by now, and a revocation would be
    // missed; so the first look finds a change.
    let mut read_last = None;
    loop {
        let found = stamp(&files).await;
        if found == read_last {
            sleep(CREDENTIAL_FILES_POLL).await;
            continue;
        }
        // Someone may be writing them one after the other: they are read when they rest.
        sleep(CREDENTIAL_FILES_POLL / 4).await;
        if stamp(&files).await != found {
            continue;
        }
        let problem = read(&store, &files, &settings).await.err();
        let problem = problem.map(|error| words(&error));
        // A wrong content is reported once; the next change is another chance.
        read_last = found;
        events.raise(Event::CredentialsRead { problem });
    }
}

async fn stamp(files: &CredentialFiles) -> Option<FileStamp> {
    let files = files.clone();
    tokio::task::spawn_blocking(move || files.stamp())
        .await
        .ok()
}

/// An error with its causes, in one line.
fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

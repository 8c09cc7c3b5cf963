//! Waiting for something that can only be asked for again and again. Every wait has a deadline and
//! says at its end what was missing.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::error::ClusterError;
use super::limits::POLL;

/// What a look at the thing that is waited for found.
#[derive(Debug)]
#[non_exhaustive]
pub enum Look<T> {
    /// It is there.
    There(T),
    /// It is not there yet; the text says what is missing.
    Missing(String),
}

/// Looks again and again until `what` is there.
///
/// # Errors
///
/// [`ClusterError::NotInTime`] after `limit`, or what a look ends with.
///
/// # Cancel safety
///
/// Nothing is lost when it is dropped.
pub async fn until<T>(
    what: &'static str,
    limit: Duration,
    mut look: impl AsyncFnMut() -> Result<Look<T>, ClusterError>,
) -> Result<T, ClusterError> {
    let deadline = Instant::now() + limit;
    let mut missing = "an answer".to_owned();
    loop {
        match timeout_at(deadline, look()).await {
            Ok(Ok(Look::There(there))) => return Ok(there),
            Ok(Ok(Look::Missing(now))) => missing = now,
            Ok(Err(error)) => return Err(error),
            Err(_) => {}
        }
        if Instant::now() >= deadline {
            return Err(ClusterError::NotInTime {
                what,
                limit,
                missing,
            });
        }
        sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_looks_until_it_is_there() {
        let mut left = 2;
        let there = until("a thing", Duration::from_secs(60), async || {
            left -= 1;
            Ok(if left == 0 {
                Look::There(7)
            } else {
                Look::Missing(String::new())
            })
        });
        assert_eq!(there.await.unwrap(), 7);
    }

    #[tokio::test]
    async fn it_names_what_was_missing() {
        let error = until::<()>("a thing", Duration::ZERO, async || {
            Ok(Look::Missing("the left half".to_owned()))
        });
        let error = error.await.unwrap_err().to_string();
        assert_eq!(
            error,
            "a thing did not come within 0 s; missing: the left half"
        );
    }

    #[tokio::test]
    async fn a_look_that_hangs_ends_with_the_wait() {
        let error = until::<()>("a thing", Duration::ZERO, async || {
            std::future::pending().await
        });
        assert!(error.await.is_err());
    }
}

//! A service of an application beside Raft, on the same links.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use quicraft_transport::link::TransferBody;
use quicraft_transport::service::{CallContext, Service, SessionReplies, SessionRequests};
use quicraft_transport::{GroupId, Refusal, RefusalCode};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep, sleep_until};

/// The group under which tests register it; no Raft group has this id.
pub const ECHO: GroupId = GroupId::new(9_000);

/// Bytes that are read of a transfer at once.
const CHUNK: usize = 64 * 1024;

/// How late a wake-up may come and still be made up for.
const LATE_MAX: Duration = Duration::from_millis(100);

/// Echoes sessions, and calls after as many milliseconds as their method says; counts how often it
/// was given each body; and takes transfers no faster than it is told, all of them together.
/// Clones are the same sink: one is registered, and the test asks another.
#[derive(Debug, Clone)]
pub struct Sink {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    bytes_per_second: u64,
    next: Mutex<Option<Instant>>,
    given: Mutex<HashMap<Bytes, u32>>,
}

impl Sink {
    /// A sink that takes transfers at this rate.
    #[must_use]
    pub fn new(bytes_per_second: u64) -> Self {
        let shared = Shared {
            bytes_per_second,
            next: Mutex::default(),
            given: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// How often a call with this body came in.
    #[must_use]
    pub fn given(&self, body: &Bytes) -> u32 {
        let given = self
            .shared
            .given
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        given.get(body).copied().unwrap_or(0)
    }

    /// When the next chunk of `bytes` may be read.
    fn turn(&self, bytes: usize) -> Instant {
        let now = Instant::now();
        let mut next = self
            .shared
            .next
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // A wake-up that came late is made up for, or the rate would depend on the machine.
        let start = next.unwrap_or(now).max(now - LATE_MAX);
        *next = Some(
            start + Duration::from_secs_f64(bytes as f64 / self.shared.bytes_per_second as f64),
        );
        start
    }
}

impl Service for Sink {
    fn call(
        &self,
        context: CallContext,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        let mut given = self
            .shared
            .given
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *given.entry(body.clone()).or_default() += 1;
        drop(given);
        async move {
            if context.method > 0 {
                sleep(Duration::from_millis(context.method.into())).await;
            }
            Ok(body)
        }
        .boxed()
    }

    fn session(
        &self,
        _: CallContext,
        requests: SessionRequests,
    ) -> Result<SessionReplies, Refusal> {
        Ok(requests.map(Ok).boxed())
    }

    fn transfer(
        &self,
        _: CallContext,
        _: Bytes,
        mut body: TransferBody,
    ) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        let sink = self.clone();
        async move {
            let mut buffer = vec![0; CHUNK];
            let mut taken = 0_u64;
            loop {
                match body.read(&mut buffer).await {
                    Ok(0) => return Ok(taken.to_be_bytes().to_vec().into()),
                    Ok(read) => {
                        taken += read as u64;
                        sleep_until(sink.turn(read)).await;
                    }
                    Err(error) => {
                        return Err(Refusal::new(RefusalCode::Corrupt, error.to_string()));
                    }
                }
            }
        }
        .boxed()
    }
}

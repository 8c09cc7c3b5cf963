//! What is told of one snapshot on its way: its beginning, how far it is, and how it ended.
//!
//! It must not know where the bytes come from or where they go.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use quicraft_certs::NodeId;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

use super::limits::SNAPSHOT_TOLD_INTERVAL;
use crate::{Event, GroupId, SnapshotDirection};

/// Where events go.
pub(super) type EventSink = Arc<dyn Fn(Event) + Send + Sync>;

/// Which snapshot it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watched {
    pub(super) peer: NodeId,
    pub(super) group: GroupId,
    pub(super) direction: SnapshotDirection,
    /// Bytes that the receiver has kept from before.
    pub(super) offset: u64,
    /// Bytes of the whole.
    pub(super) length: u64,
}

/// A snapshot under way. Dropping it says that it has failed, unless it has ended otherwise.
pub(super) struct SnapshotWatch {
    what: Watched,
    raise: EventSink,
    begun: Instant,
    /// Bytes that are past here, those kept from before among them.
    bytes: u64,
    told: Instant,
    ended: bool,
}

impl SnapshotWatch {
    /// Says that it begins.
    pub(super) fn begin(what: Watched, raise: EventSink) -> Self {
        let Watched {
            peer,
            group,
            direction,
            offset,
            length,
        } = what;
        raise(Event::SnapshotBegun {
            peer,
            group,
            direction,
            offset,
            length,
        });
        metrics::gauge!("quicraft_snapshots_under_way", "direction" => direction.name())
            .increment(1.0);
        let now = Instant::now();
        Self {
            what,
            raise,
            begun: now,
            bytes: offset,
            told: now,
            ended: false,
        }
    }

    /// The bytes of a source, counted as they are taken. What follows the snapshot counts for nothing.
    pub(super) const fn reads<R>(&mut self, source: R) -> WatchedReader<'_, R> {
        WatchedReader {
            source,
            watch: self,
        }
    }

    fn moved(&mut self, bytes: u64) {
        self.bytes = self.what.length.min(self.bytes + bytes);
        if self.told.elapsed() < SNAPSHOT_TOLD_INTERVAL {
            return;
        }
        self.told = Instant::now();
        let Watched {
            peer,
            group,
            direction,
            length,
            ..
        } = self.what;
        (self.raise)(Event::SnapshotProgress {
            peer,
            group,
            direction,
            bytes: self.bytes,
            length,
        });
    }

    /// It is installed; whoever watches says so. Returns how long it took.
    pub(super) fn done(mut self) -> Duration {
        self.ended = true;
        let (took, direction) = (self.begun.elapsed(), self.what.direction);
        metrics::histogram!("quicraft_snapshot_seconds", "direction" => direction.name())
            .record(took.as_secs_f64());
        took
    }

    /// It has failed, and why.
    pub(super) fn failed(mut self, reason: &dyn std::fmt::Display) {
        self.fail(reason.to_string());
    }

    fn fail(&mut self, reason: String) {
        self.ended = true;
        let Watched {
            peer,
            group,
            direction,
            length,
            ..
        } = self.what;
        (self.raise)(Event::SnapshotFailed {
            peer,
            group,
            direction,
            bytes: self.bytes,
            length,
            reason,
        });
    }
}

impl Drop for SnapshotWatch {
    fn drop(&mut self) {
        if !self.ended {
            self.fail("it was given up".to_owned());
        }
        let direction = self.what.direction.name();
        metrics::gauge!("quicraft_snapshots_under_way", "direction" => direction).decrement(1.0);
    }
}

/// The bytes of a snapshot on their way.
pub(super) struct WatchedReader<'a, R> {
    source: R,
    watch: &'a mut SnapshotWatch,
}

impl<R: AsyncRead + Unpin> AsyncRead for WatchedReader<'_, R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.source).poll_read(cx, buffer))?;
        this.watch.moved((buffer.filled().len() - before) as u64);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::io::AsyncReadExt;
    use tokio::time::advance;

    use super::*;

    fn watch(seen: &Arc<Mutex<Vec<Event>>>, offset: u64, length: u64) -> SnapshotWatch {
        let seen = Arc::clone(seen);
        let what = Watched {
            peer: NodeId::new(2).unwrap(),
            group: GroupId::new(1),
            direction: SnapshotDirection::Sent,
            offset,
            length,
        };
        let raise = Arc::new(move |event| seen.lock().unwrap().push(event));
        SnapshotWatch::begin(what, raise)
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_told_how_far_it_is_once_in_the_interval() {
        let seen = Arc::default();
        let mut watch = watch(&seen, 100, 140);
        let bytes = [7; 72];
        let mut reader = watch.reads(&bytes[..]);
        let mut part = [0; 10];
        for _ in 0..7 {
            reader.read_exact(&mut part).await.unwrap();
            advance(SNAPSHOT_TOLD_INTERVAL / 2).await;
        }
        assert!(watch.done() >= SNAPSHOT_TOLD_INTERVAL * 3);
        let seen = seen.lock().unwrap();
        let far: Vec<_> = seen
            .iter()
            .filter_map(|event| match event {
                Event::SnapshotProgress { bytes, length, .. } => Some((*bytes, *length)),
                _ => None,
            })
            .collect();
        // At most all of it, whatever follows.
        assert_eq!(far, [(130, 140), (140, 140), (140, 140)]);
        assert!(matches!(
            seen[0],
            Event::SnapshotBegun {
                offset: 100,
                length: 140,
                ..
            }
        ));
        assert_eq!(seen.len(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_dropped_or_fails_has_failed_once() {
        for dropped in [true, false] {
            let seen = Arc::default();
            let mut watch = watch(&seen, 0, 9);
            let mut part = [0; 4];
            let mut reader = watch.reads(&[1; 9][..]);
            reader.read_exact(&mut part).await.unwrap();
            if dropped {
                drop(watch);
            } else {
                watch.failed(&"a disk is full");
            }
            let seen = seen.lock().unwrap();
            let [
                Event::SnapshotBegun { .. },
                Event::SnapshotFailed {
                    bytes: 4,
                    length: 9,
                    reason,
                    ..
                },
            ] = &seen[..]
            else {
                panic!("{seen:?}");
            };
            assert_eq!(reason == "a disk is full", !dropped);
        }
    }
}

//! What the asking end of a session is told while a large request arrives in pieces.
//!
//! quinn tells a sender nothing about single streams, so the receiver says how far it is. A request
//! that comes quickly is never reported: its answer says enough. This room decides when a report is
//! due; it must not know frames or how a report is written.

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::limits::REPORT_INTERVAL;

/// How far a session's stream is.
#[derive(Clone, Copy, Debug, Default)]
struct Arrived {
    /// Bytes taken, as of the last piece.
    taken: u64,
    /// Since when a request has been arriving; `None` while none is.
    since: Option<Instant>,
}

/// The reading half: told of every piece.
#[derive(Debug)]
pub(crate) struct Arrival(watch::Sender<Arrived>);

/// The reporting half.
#[derive(Debug)]
pub(crate) struct Reports {
    arrived: watch::Receiver<Arrived>,
    reported: u64,
    /// When to look again; `None` while no request arrives in pieces.
    next: Option<Instant>,
    /// Whether the request that arrives was reported before, so that its end is too.
    slow: bool,
}

/// Both halves for one stream.
pub(crate) fn arrival() -> (Arrival, Reports) {
    let (sender, receiver) = watch::channel(Arrived::default());
    let reports = Reports {
        arrived: receiver,
        reported: 0,
        next: None,
        slow: false,
    };
    (Arrival(sender), reports)
}

impl Arrival {
    /// Another piece of a request that is not whole yet; `taken` counts all bytes of the stream.
    pub(crate) fn piece(&self, taken: u64) {
        self.0.send_modify(|arrived| {
            arrived.taken = taken;
            arrived.since.get_or_insert_with(Instant::now);
        });
    }

    /// A request is whole. Costs nothing for one that was whole at once.
    pub(crate) fn whole(&self, taken: u64) {
        self.0.send_if_modified(|arrived| {
            if arrived.since.take().is_some() {
                arrived.taken = taken;
            }
            // Nobody waits for this: the next look finds it.
            false
        });
    }
}

impl Reports {
    /// Waits until a report is due: a request has been arriving for [`REPORT_INTERVAL`], the last
    /// report is that long ago, and something has come since. Returns the bytes taken.
    ///
    /// Cancel safe.
    pub(crate) async fn due(&mut self) -> u64 {
        loop {
            let Some(next) = self.next else {
                if self.arrived.changed().await.is_err() {
                    // Nobody reads any more, so nothing will arrive.
                    std::future::pending::<()>().await;
                }
                self.look();
                continue;
            };
            sleep_until(next).await;
            if let Some(taken) = self.look() {
                return taken;
            }
        }
    }

    /// An answer was written. It says more than a report of what came before it.
    pub(crate) fn answered(&mut self) {
        self.slow &= self.arrived.borrow().since.is_some();
    }

    /// What there is to report now, and when to look again.
    fn look(&mut self) -> Option<u64> {
        let Arrived { taken, since } = *self.arrived.borrow_and_update();
        let now = Instant::now();
        let slow = since.is_some_and(|since| since + REPORT_INTERVAL <= now);
        // A request that was slow and has ended is reported too: from here on its handler has the
        // whole limit.
        let due = slow || self.slow;
        self.slow = slow;
        self.next = since.map(|since| if due { now } else { since } + REPORT_INTERVAL);
        if !due || taken <= self.reported {
            return None;
        }
        self.reported = taken;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use futures_util::FutureExt;
    use tokio::time::advance;

    const MS: Duration = Duration::from_millis(1);

    /// L7: at most every 500 ms, and only what grew.
    #[tokio::test(start_paused = true)]
    async fn a_slow_request_is_reported_at_its_pace_and_once_at_its_end() {
        let (arrival, mut reports) = arrival();
        let start = Instant::now();
        let reading = async {
            for piece in 1..=12 {
                arrival.piece(piece * 10);
                tokio::time::sleep(100 * MS).await;
            }
            // Nothing comes for a while.
            tokio::time::sleep(2_000 * MS).await;
            arrival.whole(130);
            std::future::pending::<()>().await;
        };
        let mut seen = Vec::new();
        let reporting = async {
            for _ in 0..4 {
                let taken = reports.due().await;
                seen.push((start.elapsed().as_millis(), taken));
            }
            tokio::time::timeout(10_000 * MS, reports.due()).await
        };
        let after = tokio::select! {
            after = reporting => after,
            () = reading => unreachable!("it never ends"),
        };
        assert!(after.is_err(), "{after:?}");
        let [first, second, third, end] = seen[..] else {
            panic!("{seen:?}")
        };
        assert_eq!((first.0, second.0, third.0), (500, 1_000, 1_500));
        assert!((50..=60).contains(&first.1) && (100..=110).contains(&second.1));
        assert_eq!(third.1, 120);
        assert_eq!(end, (3_500, 130));
    }

    /// L7: what comes quickly is not reported.
    #[tokio::test(start_paused = true)]
    async fn requests_that_are_whole_within_the_interval_are_never_reported() {
        let (arrival, mut reports) = arrival();
        arrival.whole(10);
        assert!(reports.due().now_or_never().is_none());
        for request in 1..=20 {
            arrival.piece(request * 100);
            assert!(reports.due().now_or_never().is_none());
            advance(REPORT_INTERVAL - MS).await;
            assert!(reports.due().now_or_never().is_none());
            arrival.whole(request * 100 + 50);
        }
        advance(REPORT_INTERVAL * 4).await;
        assert!(reports.due().now_or_never().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_makes_the_last_report_needless() {
        let (arrival, mut reports) = arrival();
        arrival.piece(10);
        assert_eq!(reports.due().await, 10);
        arrival.whole(20);
        reports.answered();
        let after = tokio::time::timeout(REPORT_INTERVAL * 4, reports.due()).await;
        assert!(after.is_err(), "{after:?}");
    }
}

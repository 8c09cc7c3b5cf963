//! What one direction between two hosts does to datagrams.
//!
//! Only numbers and their limits; the decisions that follow from them are made in `path`.

use std::time::Duration;

/// The largest payload that fits into a UDP datagram over IPv4: 65,535 bytes less 20 of the IP
/// header and 8 of the UDP header. As with a kernel, a send of more fails, and that counts the
/// whole batch of a segmented send, not one datagram of it.
pub const MAX_DATAGRAM_BYTES: usize = 65_507;

/// The smallest default queue of a path with limited bandwidth, in bytes. It is what a small
/// router has at least: a path with no delay would otherwise get a queue of nothing.
const MIN_QUEUE_BYTES: u64 = 256 * 1024;

/// A bandwidth in bytes per second from one in megabits per second.
#[must_use]
pub const fn megabits(per_second: u64) -> u64 {
    per_second * 125_000
}

/// The conditions on one path. The default is a perfect network: no delay, no loss, no limit.
///
/// Payload bytes are what counts for bandwidth, queue and MTU; headers of IP and UDP do not.
#[derive(Debug, Clone, PartialEq)]
pub struct Conditions {
    /// How long a datagram travels after it left the queue.
    pub delay: Duration,
    /// Up to how much longer than `delay` a datagram may travel, evenly distributed. Jitter alone
    /// keeps the order of datagrams.
    pub jitter: Duration,
    /// The probability, 0 to 1, that a datagram is lost. It is lost behind the bottleneck, so it
    /// has used its share of the bandwidth.
    pub loss: f64,
    /// The probability, 0 to 1, that a datagram is overtaken by those sent after it.
    pub reordering: f64,
    /// How much later than its turn an overtaken datagram arrives. Default 5 ms.
    pub reordering_delay: Duration,
    /// The probability, 0 to 1, that a datagram arrives twice, the copy directly behind it.
    pub duplication: f64,
    /// Bytes per second that the path carries. `None`, the default, is no limit.
    pub bandwidth: Option<u64>,
    /// How many bytes may wait for a path with limited bandwidth; a datagram that does not fit is
    /// dropped. `None`, the default, is [`Conditions::queue_limit`]'s choice.
    pub queue_bytes: Option<u64>,
    /// The largest datagram that passes. Default [`MAX_DATAGRAM_BYTES`]; an Ethernet takes 1,472.
    pub mtu: usize,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0.0,
            reordering: 0.0,
            reordering_delay: Duration::from_millis(5),
            duplication: 0.0,
            bandwidth: None,
            queue_bytes: None,
            mtu: MAX_DATAGRAM_BYTES,
        }
    }
}

impl Conditions {
    /// A perfect network with this delay in each direction.
    #[must_use]
    pub fn delayed(delay: Duration) -> Self {
        Self {
            delay,
            ..Self::default()
        }
    }

    /// How many bytes may wait in the queue: what was set, else the bandwidth times the round trip
    /// (twice `delay`), at least 256 KiB. `None` without a bandwidth: then nothing waits.
    #[must_use]
    pub fn queue_limit(&self) -> Option<u64> {
        let bandwidth = self.bandwidth?;
        Some(self.queue_bytes.unwrap_or_else(|| {
            let round_trip = self.delay.as_nanos() * 2;
            let in_flight = u128::from(bandwidth) * round_trip / 1_000_000_000;
            u64::try_from(in_flight)
                .unwrap_or(u64::MAX)
                .max(MIN_QUEUE_BYTES)
        }))
    }

    /// # Panics
    ///
    /// If a probability is not within 0 to 1, or the bandwidth is 0 (block the path instead).
    pub(super) fn assert_valid(&self) {
        for (name, probability) in [
            ("loss", self.loss),
            ("reordering", self.reordering),
            ("duplication", self.duplication),
        ] {
            assert!(
                (0.0..=1.0).contains(&probability),
                "{name} is a probability from 0 to 1, not {probability}"
            );
        }
        assert!(
            self.bandwidth != Some(0),
            "a bandwidth of 0 would never deliver: block the path instead"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_queue_is_a_bandwidth_delay_product_or_256_kib() {
        let long = Conditions {
            bandwidth: Some(megabits(1_000)),
            ..Conditions::delayed(Duration::from_millis(100))
        };
        assert_eq!(long.queue_limit(), Some(25_000_000));

        let short = Conditions {
            bandwidth: Some(megabits(100)),
            ..Conditions::delayed(Duration::from_millis(1))
        };
        assert_eq!(short.queue_limit(), Some(262_144));

        let set = Conditions {
            queue_bytes: Some(3_000),
            ..short
        };
        assert_eq!(set.queue_limit(), Some(3_000));
        assert_eq!(Conditions::default().queue_limit(), None);
    }

    #[test]
    #[should_panic(expected = "loss is a probability from 0 to 1, not 1.01")]
    fn a_probability_above_one_is_refused() {
        Conditions {
            loss: 1.01,
            ..Conditions::default()
        }
        .assert_valid();
    }
}

//! Settings: plain data with a default and a check for each. Behaviour is given to the builder.

use std::fmt::Debug;
use std::time::Duration;

use crate::admission::PlaceLimits;
use crate::limits;
use crate::raft::RaftTiming;
use crate::raft::limits::HEARTBEAT_WINDOW_MAX;

/// The settings of a transport.
///
/// Every field has a default that a cluster can run with; the derived ones follow openraft's
/// default election timeout of 150 to 300 ms badly, so derive them from your own `openraft::Config`
/// with [`RaftTiming`](crate::raft::RaftTiming).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TransportConfig {
    /// The first wait after a failed dial (50 ms). Doubles up to `dial_backoff_max`; every wait is
    /// drawn between half and all of it, so that peers do not knock in step.
    pub dial_backoff_min: Duration,
    /// The longest wait between two dials (500 ms): below the election timeout, so that a peer that
    /// is back is found before its absence causes an election.
    pub dial_backoff_max: Duration,
    /// Time for one dial of one address, TLS included (1 s).
    pub dial_limit: Duration,
    /// How long the node with the larger id leaves a dial to the other one (250 ms), so that two
    /// dials rarely cross. Where only the larger id can reach the other, this is what it costs.
    pub dial_grace: Duration,
    /// Dials of this node under way at once (32), over all peers; one more waits its turn. As many
    /// as a node accepts without asking for a validated address.
    pub dials_max: usize,
    /// A link that carried no call for this long is closed by the end that dialled it, if that end
    /// keeps no link to the peer ([`Dial::ByNeed`](crate::Dial::ByNeed)); at most a quarter later
    /// (5 min). `None` keeps all links.
    pub idle_link_timeout: Option<Duration>,
    /// Whether a link survives a new address of the node that dialled it (off). With it, anyone who
    /// can copy a packet faster than the path can make this node answer elsewhere for a round trip
    /// (RFC 9000, section 9.3); without it, the link is replaced after its idle timeout.
    pub migration: bool,
    /// Whether the key of a node that is admitted for the first time is pinned in the roster, where
    /// no pin is (off). A host that wants the pin to outlive the process keeps what
    /// [`Event::KeyPinned`](crate::Event::KeyPinned) says; a node that renews its certificate with
    /// a new key is refused then, until the host inserts it with that pin.
    pub pin_first_key: bool,
    /// A link without a received packet for this long is lost (3 s); at least three keep-alives.
    pub idle_timeout: Duration,
    /// A packet is sent at least this often (500 ms).
    pub keep_alive: Duration,
    /// Handshakes of unproven peers under way from which on a first packet must bring a token that
    /// was sent to its address (32): one round trip more. Below it anybody's packet, from any
    /// address that it claims, begins TLS and is answered with up to four times its bytes (measured:
    /// 3.1; a token: 0.1). 0 asks everybody. Together with `handshakes_reserved` at most
    /// `handshakes_max`.
    pub handshakes_soft_max: usize,
    /// Handshakes of unproven peers under way (128, at most 4,096); past it a first packet gets no
    /// answer. A handshake that goes silent costs 60 KB (measured, `quicraft-bench handshake-flood`),
    /// so 128 x 60 KB = 7.7 MB. One that fills what quinn and rustls keep of a TLS message that is
    /// not whole, 16 KiB out of order on each of two levels and 64 KiB in order, costs 160 KB by
    /// their limits (not measured), so 128 x 160 KB = 20 MB at the worst.
    pub handshakes_max: usize,
    /// Those of `handshakes_max` that are kept for known peers (32): for validated addresses, by IP,
    /// that the roster lists, that its names resolved to, or that a link came from. So strangers
    /// have 128 - 32 = 96. Less than `handshakes_max`; 0 keeps none.
    pub handshakes_reserved: usize,
    /// Handshakes under way from one source whose address is validated (16): an IP address of IPv4
    /// or of a known peer, otherwise 64 bits of IPv6. One more is refused. With 96 places for
    /// strangers it takes six sources to fill them. From 1 to all that strangers have.
    pub handshakes_per_source_max: usize,
    /// Time for TLS, as acceptor (3 s, at most 30 s). A slower peer is dropped and nothing of it is
    /// kept; its place is free half a second later. Whoever holds all places for strangers has to
    /// begin 96 / 3.5 s = 27 handshakes a second, from six sources.
    pub handshake_limit: Duration,
    /// Time for each of `Hello`, `Welcome` and `Confirm`, behind TLS (2 s, at most 30 s). Past it:
    /// `HELLO_TIMEOUT`.
    pub hello_limit: Duration,
    /// Connections that have shown a certificate of the cluster and whose hello is not judged yet
    /// (256); past it a newcomer is closed with `OVERLOADED`. Each may have sent 64 KiB: 256 x
    /// (60 KB + 64 KiB) = 32 MB, of those alone who have a certificate.
    pub hellos_pending_max: usize,
    /// The same of one node, by its certificate (8): whoever has the key of one node does not keep
    /// all others out. From 1 to `hellos_pending_max`.
    pub hellos_per_node_max: usize,
    /// quinn's first guess of a round trip (50 ms). Its own, 333 ms, repeats a lost first packet
    /// only after a second.
    pub initial_rtt: Duration,
    /// Bytes of the congestion window at the start of a link (128 KiB), so that a first snapshot on
    /// a WAN does not creep through slow start.
    pub initial_window_bytes: u64,
    /// The congestion controller (CUBIC).
    pub congestion: Congestion,
    /// Bytes of the largest frame body on Append and Call (8 MiB, also the most); a peer's smaller
    /// limit wins. Past it: [`CallError::TooLarge`](crate::CallError::TooLarge).
    pub frame_bytes_max: usize,
    /// Bytes of the largest encoded log entry (4 MiB, also the most); a peer's smaller limit wins.
    pub entry_bytes_max: usize,
    /// An append session is given up when for this long, while a request is in flight, neither an
    /// answer came nor a byte that the peer has taken (5 s). A slow path or a slow disk is not a dead peer, so this is far above any heartbeat.
    pub append_stall_limit: Duration,
    /// Heartbeats of all groups to one peer that are made within this time of the last that left are
    /// gathered and leave together (2 ms, at most 10 ms); so do the answers. One that finds nothing
    /// under way leaves at once, so a lone linearizable read, which waits for one, is not slower. 0
    /// gathers only what is ready at the same moment.
    ///
    /// Measured with `quicraft-bench heartbeats`, 1,000 groups with ten a second each: 2 ms take 600
    /// datagrams a second and 155 to 200 ms of processor time at both ends together; 5 ms take a
    /// third of both. But on a busy node a read waits for a window at each end, and 10 ms are much
    /// beside a round trip within a data centre.
    pub heartbeat_window: Duration,
    /// A snapshot is given up when for this long the receiver had something to do and not a byte of it
    /// moved (10 s). Waits for the node's own rate and for other snapshots do not count.
    pub snapshot_stall_limit: Duration,
    /// Bytes a second that this node sends as snapshots, over all links; 0 is no limit (0).
    pub snapshot_bytes_per_second: u64,
    /// Snapshots that this node sends at once (8); one more waits, to its stall limit.
    pub snapshots_sent_max: usize,
    /// Bytes asked of the kernel for each of the socket's two buffers (4 MiB).
    pub socket_buffer_bytes: usize,
    /// The largest datagram that path MTU discovery may find (1,452 bytes; a jumbo path: 8,952).
    pub datagram_bytes_max: u16,
    /// The uid of the founded cluster, for hosts that keep it themselves (0: what the incarnation
    /// keeps).
    pub cluster_uid: u128,
}

/// A congestion controller of quinn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Congestion {
    /// RFC 9438 between two bounds. No more is on its way than the path carries and a queue of 2 ms (3
    /// ms at 100), so that heartbeats do not wait behind bulk: beside a snapshot on a loopback 99 of 100
    /// take 16 ms instead of 210, beside large appends 14 instead of 789; the snapshot alone is then
    /// slower by up to a third. And single losses leave `initial_window_bytes`, as long as fewer than
    /// one packet of 17 is lost: with CUBIC alone on a path of 100 ms that loses one packet of a hundred,
    /// 64 groups share a dozen packets, and a commit that lost nothing takes 2.1 times as long.
    #[default]
    Cubic,
    /// quinn's BBR as it is, which calls itself experimental. It keeps its speed on lossy paths as
    /// well. But while the sender has less to send than the path takes, its window grows without end
    /// (130 MB on a loopback), and when it looks for the shortest round trip it sends 4 packets a round
    /// trip for 200 ms and more, heartbeats among them.
    Bbr,
}

impl Default for TransportConfig {
    fn default() -> Self {
        Self {
            dial_backoff_min: Duration::from_millis(50),
            dial_backoff_max: Duration::from_millis(500),
            dial_limit: Duration::from_secs(1),
            dial_grace: Duration::from_millis(250),
            dials_max: limits::HANDSHAKES_SOFT_MAX,
            idle_link_timeout: Some(Duration::from_secs(300)),
            migration: false,
            pin_first_key: false,
            idle_timeout: Duration::from_secs(3),
            keep_alive: Duration::from_millis(500),
            handshakes_soft_max: limits::HANDSHAKES_SOFT_MAX,
            handshakes_max: limits::HANDSHAKES_HARD_MAX,
            handshakes_reserved: limits::HANDSHAKES_RESERVED,
            handshakes_per_source_max: limits::HANDSHAKES_PER_SOURCE_MAX,
            handshake_limit: limits::HANDSHAKE_LIMIT,
            hello_limit: limits::HELLO_LIMIT,
            hellos_pending_max: limits::HELLOS_PENDING_MAX,
            hellos_per_node_max: limits::HELLOS_PER_NODE_MAX,
            initial_rtt: Duration::from_millis(50),
            initial_window_bytes: 128 * 1024,
            congestion: Congestion::Cubic,
            frame_bytes_max: limits::FRAME_BODY_BYTES_MAX,
            entry_bytes_max: limits::ENTRY_BYTES_MAX,
            append_stall_limit: Duration::from_secs(5),
            heartbeat_window: Duration::from_millis(2),
            snapshot_stall_limit: Duration::from_secs(10),
            snapshot_bytes_per_second: 0,
            snapshots_sent_max: limits::SNAPSHOTS_SENT_MAX,
            socket_buffer_bytes: limits::SOCKET_BUFFER_BYTES,
            datagram_bytes_max: 1_452,
            cluster_uid: 0,
        }
    }
}

/// A setting that cannot be, with its name, its value and what it may be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the setting {name} is {value}; it must be {must}")]
#[non_exhaustive]
pub struct InvalidSetting {
    /// Which setting.
    pub name: &'static str,
    /// Its value.
    pub value: String,
    /// What it must be.
    pub must: &'static str,
}

impl TransportConfig {
    /// The same settings with the times that fit a Raft configuration.
    #[must_use]
    pub const fn with_timing(mut self, timing: RaftTiming) -> Self {
        self.dial_backoff_min = timing.dial_backoff_min;
        self.dial_backoff_max = timing.dial_backoff_max;
        self.idle_timeout = timing.idle_timeout;
        self.keep_alive = timing.keep_alive;
        self.initial_rtt = timing.initial_rtt;
        self
    }

    /// Checks every setting and how they fit together.
    ///
    /// # Errors
    ///
    /// The first [`InvalidSetting`].
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        self.validate_times()?;
        self.validate_places()?;
        self.validate_sizes()
    }

    /// The places of unproven peers.
    pub(crate) const fn places(&self) -> PlaceLimits {
        PlaceLimits {
            soft: self.handshakes_soft_max,
            max: self.handshakes_max,
            reserved: self.handshakes_reserved,
            per_source: self.handshakes_per_source_max,
        }
    }

    fn validate_places(&self) -> Result<(), InvalidSetting> {
        let PlaceLimits {
            soft,
            max,
            reserved,
            per_source,
        } = self.places();
        check(
            (1..=HANDSHAKES_CEILING).contains(&max),
            "handshakes_max",
            &max,
            "from 1 to 4,096",
        )?;
        check(
            reserved < max,
            "handshakes_reserved",
            &reserved,
            "less than handshakes_max, so that a new node can enter",
        )?;
        let strangers = max - reserved;
        check(
            soft <= strangers,
            "handshakes_soft_max",
            &soft,
            "at most handshakes_max less handshakes_reserved, because an address that anybody can \
             claim takes no place of the reserve",
        )?;
        check(
            (1..=strangers).contains(&per_source),
            "handshakes_per_source_max",
            &per_source,
            "from 1 to handshakes_max less handshakes_reserved",
        )?;
        let hellos = self.hellos_pending_max;
        check(
            (1..=HANDSHAKES_CEILING).contains(&hellos),
            "hellos_pending_max",
            &hellos,
            "from 1 to 4,096",
        )?;
        check(
            (1..=hellos).contains(&self.hellos_per_node_max),
            "hellos_per_node_max",
            &self.hellos_per_node_max,
            "from 1 to hellos_pending_max",
        )?;
        for (name, limit) in [
            ("handshake_limit", self.handshake_limit),
            ("hello_limit", self.hello_limit),
        ] {
            let fine = !limit.is_zero() && limit <= UNPROVEN_TIME_CEILING;
            check(fine, name, &limit, "above 0 and at most 30 s")?;
        }
        Ok(())
    }

    fn validate_times(&self) -> Result<(), InvalidSetting> {
        let above_zero = [
            ("dial_backoff_min", self.dial_backoff_min),
            ("dial_limit", self.dial_limit),
            (
                "idle_link_timeout",
                self.idle_link_timeout.unwrap_or(Duration::MAX),
            ),
            ("keep_alive", self.keep_alive),
            ("initial_rtt", self.initial_rtt),
            ("append_stall_limit", self.append_stall_limit),
            ("snapshot_stall_limit", self.snapshot_stall_limit),
        ];
        for (name, value) in above_zero {
            check(!value.is_zero(), name, &value, "above 0")?;
        }
        check(
            self.dial_backoff_max >= self.dial_backoff_min,
            "dial_backoff_max",
            &self.dial_backoff_max,
            "at least dial_backoff_min",
        )?;
        check(
            self.heartbeat_window <= HEARTBEAT_WINDOW_MAX,
            "heartbeat_window",
            &self.heartbeat_window,
            "at most 10 ms, because openraft waits for an answer for 3/4 of its heartbeat interval",
        )?;
        let three = self.keep_alive.saturating_mul(3);
        check(
            (three..=IDLE_TIMEOUT_MAX).contains(&self.idle_timeout),
            "idle_timeout",
            &self.idle_timeout,
            "at least three keep_alive, so that two lost packets do not end a link, and at most an hour",
        )
    }

    fn validate_sizes(&self) -> Result<(), InvalidSetting> {
        let frame = self.frame_bytes_max;
        check(
            (limits::CONTROL_BODY_BYTES_MAX..=limits::FRAME_BODY_BYTES_MAX).contains(&frame),
            "frame_bytes_max",
            &frame,
            "from 64 KiB to 8 MiB",
        )?;
        check(
            (1..=limits::ENTRY_BYTES_MAX.min(frame / 2)).contains(&self.entry_bytes_max),
            "entry_bytes_max",
            &self.entry_bytes_max,
            "from 1 to half of frame_bytes_max",
        )?;
        let dials = self.dials_max;
        check(dials > 0, "dials_max", &dials, "at least 1")?;
        let sent = self.snapshots_sent_max;
        check(sent > 0, "snapshots_sent_max", &sent, "at least 1")?;
        check(
            (1_200..=8_952).contains(&self.datagram_bytes_max),
            "datagram_bytes_max",
            &self.datagram_bytes_max,
            "from 1,200 to 8,952",
        )
    }
}

/// A link that may be silent for longer than an hour is not watched at all.
const IDLE_TIMEOUT_MAX: Duration = Duration::from_secs(3_600);

/// 4,096 handshakes of 60 KB are 246 MB, for strangers: more is a mistake.
const HANDSHAKES_CEILING: usize = 4_096;

/// Nobody who takes longer than this for one message is waited for.
const UNPROVEN_TIME_CEILING: Duration = Duration::from_secs(30);

fn check(
    fine: bool,
    name: &'static str,
    value: &dyn Debug,
    must: &'static str,
) -> Result<(), InvalidSetting> {
    if fine {
        return Ok(());
    }
    let value = format!("{value:?}");
    Err(InvalidSetting { name, value, must })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_bad_values_are_named() {
        assert_eq!(TransportConfig::default().validate(), Ok(()));
        let named = |change: fn(&mut TransportConfig)| {
            let mut config = TransportConfig::default();
            change(&mut config);
            config.validate().unwrap_err().name
        };
        assert_eq!(
            named(|c| c.dial_backoff_min = Duration::ZERO),
            "dial_backoff_min"
        );
        assert_eq!(
            named(|c| c.dial_backoff_max = Duration::from_millis(1)),
            "dial_backoff_max"
        );
        assert_eq!(
            named(|c| c.idle_timeout = c.keep_alive * 3 - Duration::from_nanos(1)),
            "idle_timeout"
        );
        assert_eq!(named(|c| c.frame_bytes_max += 1), "frame_bytes_max");
        assert_eq!(
            named(|c| c.entry_bytes_max = c.frame_bytes_max / 2 + 1),
            "entry_bytes_max"
        );
        assert_eq!(named(|c| c.entry_bytes_max = 0), "entry_bytes_max");
        assert_eq!(
            named(|c| c.datagram_bytes_max = 8_953),
            "datagram_bytes_max"
        );
        assert_eq!(
            named(|c| c.heartbeat_window = HEARTBEAT_WINDOW_MAX + Duration::from_nanos(1)),
            "heartbeat_window"
        );
        assert_eq!(named(|c| c.snapshots_sent_max = 0), "snapshots_sent_max");
        assert_eq!(named(|c| c.dials_max = 0), "dials_max");
        assert_eq!(
            named(|c| c.idle_link_timeout = Some(Duration::ZERO)),
            "idle_link_timeout"
        );
    }

    #[test]
    fn places_that_cannot_be_are_named_with_their_value() {
        let refused = |change: fn(&mut TransportConfig)| {
            let mut config = TransportConfig::default();
            change(&mut config);
            let refused = config.validate().unwrap_err();
            (refused.name, refused.value)
        };
        let named = |name, value: &str| (name, value.to_owned());
        for (change, expected) in [
            (
                (|c| c.handshakes_max = 0) as fn(&mut TransportConfig),
                named("handshakes_max", "0"),
            ),
            (
                |c| c.handshakes_max = 4_097,
                named("handshakes_max", "4097"),
            ),
            (
                |c| c.handshakes_reserved = c.handshakes_max,
                named("handshakes_reserved", "128"),
            ),
            (
                |c| c.handshakes_soft_max = 97,
                named("handshakes_soft_max", "97"),
            ),
            (
                |c| c.handshakes_per_source_max = 0,
                named("handshakes_per_source_max", "0"),
            ),
            (
                |c| c.handshakes_per_source_max = 97,
                named("handshakes_per_source_max", "97"),
            ),
            (
                |c| c.hellos_pending_max = 0,
                named("hellos_pending_max", "0"),
            ),
            (
                |c| c.hellos_pending_max = 4_097,
                named("hellos_pending_max", "4097"),
            ),
            (
                |c| c.hellos_per_node_max = 0,
                named("hellos_per_node_max", "0"),
            ),
            (
                |c| c.hellos_per_node_max = 257,
                named("hellos_per_node_max", "257"),
            ),
            (
                |c| c.handshake_limit = Duration::ZERO,
                named("handshake_limit", "0ns"),
            ),
            (
                |c| c.hello_limit = Duration::from_millis(30_001),
                named("hello_limit", "30.001s"),
            ),
        ] {
            assert_eq!(refused(change), expected);
        }
    }

    #[test]
    fn limits_themselves_are_allowed() {
        let mut config = TransportConfig::default();
        config.idle_timeout = config.keep_alive * 3;
        config.frame_bytes_max = limits::CONTROL_BODY_BYTES_MAX;
        config.entry_bytes_max = config.frame_bytes_max / 2;
        config.datagram_bytes_max = 8_952;
        config.handshakes_soft_max = 96;
        config.handshakes_per_source_max = 96;
        config.handshake_limit = Duration::from_secs(30);
        config.hello_limit = Duration::from_nanos(1);
        config.hellos_pending_max = 4_096;
        config.hellos_per_node_max = 4_096;
        assert_eq!(config.validate(), Ok(()));
        config.handshakes_max = 4_096;
        config.handshakes_reserved = 4_095;
        config.handshakes_soft_max = 0;
        config.handshakes_per_source_max = 1;
        assert_eq!(config.validate(), Ok(()));
    }
}

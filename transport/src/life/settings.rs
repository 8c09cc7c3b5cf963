//! The times and the role with which the life of a link is run.

use std::time::Duration;

use crate::config::TransportConfig;
use crate::limits::{DRAIN_LIMIT, HANDOVER_LIMIT, PARKED_RETRY};

/// The times and the role of this end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_structs,
    reason = "the exploration builds it, field by field"
)]
pub struct LifeSettings {
    /// Whether this end has the smaller id, and so dials without waiting for the other.
    pub dials_first: bool,
    /// How long the larger id leaves a dial to the smaller one.
    pub grace: Duration,
    /// The first wait between two dials.
    pub backoff_min: Duration,
    /// The longest wait between two dials. A link that lived for less did not stand, and the waits
    /// go on where they were.
    pub backoff_max: Duration,
    /// How long a link without a call is kept that nobody needs; `None` is for ever.
    pub idle: Option<Duration>,
    /// How long a connection may drain.
    pub drain: Duration,
    /// How long a link on which the peer is done is kept, while another one may be on its way.
    pub handover: Duration,
    /// The wait between two dials of a parked peer.
    pub parked: Duration,
}

impl LifeSettings {
    /// The settings of a transport, for a peer with a larger id (`dials_first`) or a smaller one.
    #[must_use]
    pub const fn of(config: &TransportConfig, dials_first: bool) -> Self {
        Self {
            dials_first,
            grace: config.dial_grace,
            backoff_min: config.dial_backoff_min,
            backoff_max: config.dial_backoff_max,
            idle: config.idle_link_timeout,
            drain: DRAIN_LIMIT,
            handover: HANDOVER_LIMIT,
            parked: PARKED_RETRY,
        }
    }
}
